import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../store.ts'
import { isPassing, s3Failure } from './failures.ts'

const ATTEMPTS = 3
/** Milliseconds before the second attempt; twice as many before each further one. */
const FIRST_PAUSE = 100

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** Milliseconds for all attempts together. */
  readonly limit: number
}

/**
 * Calls up to three times, with growing pauses, as long as the failure may pass.
 *
 * `doing` is for the error's text, as in "cannot store an image". Rejects with a `StoreError`, or with the signal's reason.
 */
export async function call<T>(
  doing: string,
  once: (signal: AbortSignal) => Promise<T>,
  { signal, limit }: CallOptions,
): Promise<T> {
  const overdue = new AbortController()
  // Not `AbortSignal.timeout`, which would go on to cut the body that a call was answered with.
  const timer = setTimeout(() => overdue.abort(), limit)
  const either = signal ? AbortSignal.any([signal, overdue.signal]) : overdue.signal
  try {
    return await attempts(() => once(either), either)
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    if (overdue.signal.aborted) throw new StoreError(`cannot ${doing}: no answer in time`, { cause: error })
    throw s3Failure(error, `cannot ${doing}`)
  } finally {
    clearTimeout(timer)
  }
}

/** The attempts of a call. Rejects with the last failure as it is. */
export async function attempts<T>(once: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once()
    } catch (error) {
      if (attempt === ATTEMPTS || signal.aborted || !isPassing(error)) throw error
      // Not all at the same moment, when many failed at the same moment.
      const pause = FIRST_PAUSE * 2 ** (attempt - 1) * (0.5 + Math.random())
      await sleep(pause, undefined, { signal }).catch(() => {
        throw error
      })
    }
  }
}
