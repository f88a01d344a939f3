import { firstLiveKey, isExpired, parseName } from './name.ts'
import type { Spool } from './spool.ts'
import type { DeleteFailure, Store } from './store/store.ts'

/** Deletes under way at once. */
const CONCURRENCY = 8
/** Images in one delete, where the store takes many. */
const BATCH = 1000

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
  const batches = inBatches(expired(store, now), store.deleteMany ? BATCH : 1)

  async function deleteInTurn(): Promise<void> {
    for (let next = await batches.next(); !next.done && !signal?.aborted; next = await batches.next()) {
      const sizes = new Map(next.value.map(({ key, size }) => [key, size]))
      const failures = await deleteAll(store, [...sizes.keys()])
      for (const { key, error } of failures) {
        sizes.delete(key)
        onError(error)
      }
      failed += failures.length
      deleted += sizes.size
      for (const size of sizes.values()) bytes += size
    }
  }

  await Promise.all(Array.from({ length: CONCURRENCY }, deleteInTurn))
  return { deleted, bytes, failed, tempFiles }
}

interface StoredObject {
  readonly key: string
  readonly size: number
}

async function* expired(store: Store, now: number): AsyncGenerator<StoredObject> {
  for await (const object of store.list({ before: firstLiveKey(now) })) {
    const name = parseName(object.key)
    if (name !== undefined && isExpired(name, now)) yield object
  }
}

async function* inBatches(objects: AsyncIterable<StoredObject>, size: number) {
  let batch: StoredObject[] = []
  let failure: unknown
  try {
    for await (const object of objects) {
      batch.push(object)
      if (batch.length < size) continue
      yield batch
      batch = []
    }
  } catch (error) {
    failure = error
  }
  // What was found before a list failed is deleted all the same.
  if (batch.length > 0) yield batch
  if (failure !== undefined) throw failure
}

async function deleteAll(store: Store, keys: readonly string[]): Promise<DeleteFailure[]> {
  if (store.deleteMany) return store.deleteMany(keys)
  const deletions = await Promise.allSettled(keys.map((key) => store.delete(key)))
  return deletions.flatMap((deletion, i) =>
    deletion.status === 'rejected' ? [{ key: keys[i] ?? '', error: deletion.reason }] : [],
  )
}
