import { problem, problemWith } from './errors.ts'

/** Lists that are read at once, as each reads the names of all images, and that wait for their turn. */
const MOST_LISTS = 4
const MOST_WAITING = 64
/** Of one key, reading or waiting. */
const MOST_OF_KEY = 16
/** Milliseconds for which one waits. */
const PATIENCE = 10_000

/** Lets few go on at once, and the others when it is their turn: `Admission.list`. */
export function turns(): (keyId: string, signal: AbortSignal) => Promise<Disposable> {
  const waiting = new Set<() => void>()
  const ofKeys = new Map<string, number>()
  let running = 0

  function leave(): void {
    const [next] = waiting
    // Handed on, so that nobody else can come between.
    if (next === undefined) running -= 1
    else next()
  }

  async function wait(signal: AbortSignal): Promise<void> {
    if (running < MOST_LISTS) {
      running += 1
      return
    }
    if (waiting.size >= MOST_WAITING) throw problem('server_busy')
    const tooLong = AbortSignal.timeout(PATIENCE)
    const either = AbortSignal.any([signal, tooLong])
    await new Promise<void>((resolve, reject) => {
      const go = () => {
        waiting.delete(go)
        resolve()
      }
      waiting.add(go)
      const stop = () =>
        waiting.delete(go) &&
        reject(signal.aborted ? signal.reason : problemWith('server_busy', { cause: either.reason }))
      either.addEventListener('abort', stop, { once: true })
    })
  }

  return async (keyId, signal) => {
    signal.throwIfAborted()
    const count = ofKeys.get(keyId) ?? 0
    if (count >= MOST_OF_KEY) throw problem('server_busy')
    ofKeys.set(keyId, count + 1)
    const forget = () => {
      const left = (ofKeys.get(keyId) ?? 1) - 1
      if (left > 0) ofKeys.set(keyId, left)
      else ofKeys.delete(keyId)
    }
    try {
      await wait(signal)
    } catch (error) {
      forget()
      throw error
    }
    return {
      [Symbol.dispose]: () => {
        forget()
        leave()
      },
    }
  }
}
