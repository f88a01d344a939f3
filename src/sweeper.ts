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
  /** Deleted of what was sent to links. */
  readonly leftovers: number
  readonly tempFiles: number
}

export interface SweepOptions {
  readonly store: Store
  /** Where uploads arrive, and which of them are of no more use at a time in Unix milliseconds. */
  readonly incoming?: { readonly store: Store; isOver(key: string, now: number): boolean } | undefined
  readonly spool: Spool
  /** Unix milliseconds. */
  readonly now: number
  /** Told of each failure that the sweep goes on after. */
  readonly onError: (error: unknown) => void
  /** Ends the sweep between two deletes. */
  readonly signal?: AbortSignal
}

/**
 * One pass: deletes what has expired, the oldest first, what was sent to links and became no image, and temp files that nobody writes any
 * more.
 *
 * It costs what it deletes, not what is stored. What has no name of ours is left alone. Rejects if the store cannot be listed.
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const { store, incoming, spool, now, onError } = options
  const tempFiles = await spool.sweep(now).catch((error) => {
    onError(error)
    return 0
  })
  let leftovers = 0
  if (incoming !== undefined)
    try {
      const cleared = await clear(incoming.store, overIn(incoming, now), options)
      leftovers = cleared.deleted
    } catch (error) {
      onError(error)
    }
  return { ...(await clear(store, expired(store, now), options)), leftovers, tempFiles }
}

/** Deletes objects of a store, several at a time. */
async function clear(
  store: Store,
  objects: AsyncIterable<StoredObject>,
  { onError, signal }: Pick<SweepOptions, 'onError' | 'signal'>,
): Promise<Pick<SweepResult, 'deleted' | 'bytes' | 'failed'>> {
  let [deleted, bytes, failed] = [0, 0, 0]
  const batches = inBatches(objects, store.deleteMany ? BATCH : 1)

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
  return { deleted, bytes, failed }
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

/** There are few: nothing stays here for long. */
async function* overIn(
  { store, isOver }: NonNullable<SweepOptions['incoming']>,
  now: number,
): AsyncGenerator<StoredObject> {
  for await (const object of store.list()) if (isOver(object.key, now)) yield object
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
