/** Why there is no slot: all are taken, the key has its share, or the wait took too long. */
export type Shortage = 'slots' | 'share' | 'patience'

export interface SemaphoreOptions {
  /** Slots, each for one holder at a time; 0 for any number. */
  readonly slots: number
  /**
   * Slots that one key may hold while other keys may want some, at least 1; asked each time.
   * Without a queue it is a hard limit: a key that comes later would be refused, not served next.
   * With one, a key may go beyond it as long as no other key waits.
   */
  readonly share?: () => number
  /** The line of those that wait for a slot; nobody waits if not given. */
  readonly queue?: {
    readonly length: number
    /** How many of one key may hold a slot or wait; asked each time. Any number if not given. */
    readonly ofKey?: () => number
    /** Milliseconds that one waits; for as long as its signal allows if not given. */
    readonly patience?: number
  }
  /** Makes the error that those get for whom there is no slot. */
  readonly refusal: (why: Shortage) => Error
}

export interface Semaphore {
  /** Slots that are taken. */
  readonly held: number
  /** Throws what `tryAcquire` would throw now, and takes nothing. */
  check(key: string): void
  /** Takes a slot, until it is disposed of. Throws the refusal if the key cannot have one now. */
  tryAcquire(key: string): Disposable
  /** The same, but waits in the queue. Rejects with the refusal, or with the signal's reason. */
  acquire(key: string, signal: AbortSignal): Promise<Disposable>
}

interface Waiter {
  readonly key: string
  go(slot: Disposable): void
}

/**
 * Counting semaphore with a fair share for each key and a bounded queue: first come, first served,
 * but keys within their share first.
 */
export function semaphore({ slots, share = () => Infinity, queue, refusal }: SemaphoreOptions): Semaphore {
  const most = slots === 0 ? Infinity : slots
  const heldBy = new Map<string, number>()
  const waiting = new Set<Waiter>()
  let held = 0

  const countOf = (key: string) => heldBy.get(key) ?? 0
  const isAtShare = (key: string) => countOf(key) >= share()

  function check(key: string): void {
    if (held >= most) throw refusal('slots')
    if (queue === undefined && isAtShare(key)) throw refusal('share')
  }

  function grant(key: string): Disposable {
    held += 1
    heldBy.set(key, countOf(key) + 1)
    let isHeld = true
    return {
      [Symbol.dispose]() {
        if (!isHeld) return
        isHeld = false
        release(key)
      },
    }
  }

  /**
   * Hands the slot on in the same step, so that nobody who comes now can overtake those that wait.
   */
  function release(key: string): void {
    held -= 1
    if (countOf(key) > 1) heldBy.set(key, countOf(key) - 1)
    else heldBy.delete(key)
    const [first] = waiting
    const next = waiting.values().find((waiter) => !isAtShare(waiter.key)) ?? first
    if (next === undefined) return
    waiting.delete(next)
    next.go(grant(next.key))
  }

  function wait(key: string, signal: AbortSignal): Promise<Disposable> {
    const { promise, resolve, reject } = Promise.withResolvers<Disposable>()
    const leave = (why: unknown) => {
      if (waiting.delete(waiter)) reject(why)
    }
    const onAbort = () => leave(signal.reason)
    const waiter = { key, go: resolve }
    waiting.add(waiter)
    signal.addEventListener('abort', onAbort, { once: true })
    const patience = queue?.patience
    const timer = patience === undefined ? undefined : setTimeout(() => leave(refusal('patience')), patience)
    return promise.finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    })
  }

  function tryAcquire(key: string): Disposable {
    check(key)
    return grant(key)
  }

  return {
    get held() {
      return held
    },
    check,
    tryAcquire,

    async acquire(key, signal) {
      signal.throwIfAborted()
      // Nobody waits while a slot is free.
      if (queue === undefined || held < most) return tryAcquire(key)
      if (waiting.size >= queue.length) throw refusal('slots')
      const ofKey = countOf(key) + waiting.values().reduce((sum, each) => sum + Number(each.key === key), 0)
      if (ofKey >= (queue.ofKey?.() ?? Infinity)) throw refusal('share')
      return wait(key, signal)
    },
  }
}
