import { firstLiveKey, isExpired, parseName } from './name.ts'
import type { Spool } from './spool.ts'
import type { Store } from './store/store.ts'

/** Deletes under way at once. */
const CONCURRENCY = 8

export interface SweepResult {
  readonly deleted: number
  /** Of the deleted images. */
  readonly bytes: number
  /** Deletes that did not succeed; the next sweep tries again. */
  readonly failed: number
  readonly tempFiles: number
}

export interface SweepOptions {
  readonly store: Store
  readonly spool: Spool
  /** Unix milliseconds. */
  readonly now: number
  /** Told of each failure that the sweep goes on after. */
  readonly onError: (error: unknown) => void
  /** Ends the sweep between two deletes. */
  readonly signal?: AbortSignal
}

/**
 * One pass: deletes what has expired, the oldest first, and temp files that nobody writes any more.
 *
 * It costs what it deletes, not what is stored. What has no name of ours is left alone. Rejects if the store cannot be listed.
 */
export async function sweep({ store, spool, now, onError, signal }: SweepOptions): Promise<SweepResult> {
  let deleted = 0
  let bytes = 0
  let failed = 0
  const tempFiles = await spool.sweep(now).catch((error) => {
    onError(error)
    return 0
  })
  const objects = store.list({ before: firstLiveKey(now) })[Symbol.asyncIterator]()

  async function deleteInTurn(): Promise<void> {
    for (let next = await objects.next(); !next.done && !signal?.aborted; next = await objects.next()) {
      const { key, size } = next.value
      const name = parseName(key)
      if (name === undefined || !isExpired(name, now)) continue
      try {
        await store.delete(key)
        deleted += 1
        bytes += size
      } catch (error) {
        failed += 1
        onError(error)
      }
    }
  }

  await Promise.all(Array.from({ length: CONCURRENCY }, deleteInTurn))
  return { deleted, bytes, failed, tempFiles }
}
