import { problem, problemWith } from './errors.ts'

export interface TurnOptions {
  /** That go on at once. */
  readonly most: number
  /** That wait for their turn. */
  readonly waiting: number
  /** Of one key, going on or waiting. */
  readonly ofKey: number
  /** Milliseconds for which one waits. */
  readonly patience: number
  /** What is said to those for whom there is no room. */
  readonly code: 'server_busy' | 'fit_busy'
}

/** Lists, each of which reads the names of all images. */
const OF_LISTS: TurnOptions = { most: 4, waiting: 64, ofKey: 16, patience: 10_000, code: 'server_busy' }

/** Lets few go on at once, and the others when it is their turn: `Admission.list`. */
export function turns({
  most,
  waiting: mostWaiting,
  ofKey,
  patience,
  code,
} = OF_LISTS): (keyId: string, signal: AbortSignal) => Promise<Disposable> {
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
    if (running < most) {
      running += 1
      return
    }
    if (waiting.size >= mostWaiting) throw problem(code)
    const tooLong = AbortSignal.timeout(patience)
    const either = AbortSignal.any([signal, tooLong])
    await new Promise<void>((resolve, reject) => {
      const go = () => {
        waiting.delete(go)
        resolve()
      }
      waiting.add(go)
      const stop = () =>
        waiting.delete(go) &&
        reject(signal.aborted ? signal.reason : problemWith(code, { cause: either.reason }))
      either.addEventListener('abort', stop, { once: true })
    })
  }

  return async (keyId, signal) => {
    signal.throwIfAborted()
    const count = ofKeys.get(keyId) ?? 0
    if (count >= ofKey) throw problem(code)
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
