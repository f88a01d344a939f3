import { LRUCache } from 'lru-cache'
import { copies } from './copies.ts'
import { type Held, type Opened, type OpenOptions, type Store, StoreError } from './store.ts'
import { tellingOfDeletes, type Witness } from './witness.ts'

/** The largest image that is held, as a part of all that may be held. */
const LARGEST_PART = 1 / 8
/** What may be read into memory at once, or be on its way to readers though no longer held, as such a part. */
const LOOSE_PART = 1 / 2
/** Bytes of memory that an entry takes besides those of its image, so that the number of small ones is bounded, too. */
const ENTRY_BYTES = 1024

export interface CacheOptions {
  /** Bytes that are held at most. */
  readonly size: number
  readonly witness: Witness
}

export interface CacheFacts {
  /** Reads of whole images that were answered from memory, and those that were not. */
  readonly hits: number
  readonly misses: number
  /** Bytes that are held. */
  readonly bytes: number
}

export interface CachedStore extends Store {
  facts(): CacheFacts
}

interface Entry {
  readonly bytes: Buffer
  readonly mark: string
  /** Readers that it is on its way to. */
  readers: number
  isHeld: boolean
}

/**
 * A store that keeps images in memory that are asked for again: those that are read whole a second time before as many bytes of others as it
 * can hold have been read. Most images are read once or twice, and would only drive out those that are read often.
 *
 * No image is given out after its `delete` has ended, here or in any process that its witness speaks for:
 *
 * - A mark is taken before the first byte is read, and each time before anything of an entry is given out, the witness is asked whether the mark
 *   still holds. A delete ends the mark after the object has gone and before it is answered. So what is given out under a mark that holds was
 *   read when the object was there, and no delete has ended since.
 * - That includes those who wait for a reading that is under way: they join it only if its mark still holds. Whoever finds that it does not reads
 *   anew, and finds no object.
 * - What is not there has no entry, so that an image which comes later is found at once.
 *
 * Memory is bounded by `size`, and half as much for what is being read or still sent though no longer held. What goes beyond is not kept: it is
 * given out as the store gives it.
 */
export function cachedStore(store: Store, { size, witness }: CacheOptions): CachedStore {
  const held = new LRUCache<string, Entry>({
    maxSize: size,
    sizeCalculation: ({ bytes }) => bytes.length + ENTRY_BYTES,
    dispose(entry, key) {
      entry.isHeld = false
      if (entry.readers > 0) loose += entry.bytes.length
      witness.forget(key, entry.mark)
    },
  })
  /** Images that were read not long ago, by their sizes. */
  const seen = new LRUCache<string, number>({
    maxSize: size,
    sizeCalculation: (bytes) => bytes + ENTRY_BYTES,
  })
  const loading = new Map<string, { readonly mark: string; readonly entry: Promise<Entry> }>()
  let loose = 0
  let hits = 0
  let misses = 0

  /** The entry of a key, unless it may be out of date. */
  function find(key: string): Entry | undefined {
    const entry = held.get(key)
    if (entry === undefined || witness.holds(key, entry.mark)) return entry
    held.delete(key)
  }

  function lend(entry: Entry, range?: OpenOptions['range']): Held {
    const bytes = range ? entry.bytes.subarray(range.start, range.end + 1) : entry.bytes
    let isOver = false
    if (!entry.isHeld && entry.readers === 0) loose += entry.bytes.length
    entry.readers += 1
    return {
      size: entry.bytes.length,
      bytes,
      done() {
        if (isOver) return
        isOver = true
        entry.readers -= 1
        if (!entry.isHeld && entry.readers === 0) loose -= entry.bytes.length
      },
      get body() {
        return copies(bytes, () => this.done(true))
      },
    }
  }

  /** Whether an image of this size, asked for again, is to be held. */
  function isWanted(key: string): number | undefined {
    const bytes = seen.get(key)
    return bytes !== undefined && loose + bytes <= size * LOOSE_PART ? bytes : undefined
  }

  /** Reads an image whole, for all who ask meanwhile. It ends by itself: nobody who leaves ends it for the others. */
  function load(key: string, expected: number): Promise<Entry> | undefined {
    const mark = witness.mark(key)
    if (mark === undefined) return undefined
    loose += expected
    const entry = readWhole(store, key)
      .then((bytes) => {
        const entry = { bytes, mark, readers: 0, isHeld: true }
        // Not if a later reading has taken the place of this one, as its mark did not hold.
        if (loading.get(key)?.mark === mark) held.set(key, entry)
        else entry.isHeld = false
        return entry
      })
      .finally(() => {
        loose -= expected
        if (loading.get(key)?.mark === mark) loading.delete(key)
      })
    loading.set(key, { mark, entry })
    return entry
  }

  async function openWhole(key: string, options: OpenOptions): Promise<Opened> {
    const under = loading.get(key)
    const bytes = isWanted(key)
    const joined = under && witness.holds(key, under.mark) ? under.entry : undefined
    const loaded = joined ?? (bytes === undefined ? undefined : load(key, bytes))
    if (loaded !== undefined) return lend(await loaded)
    const opened = await store.open(key, options)
    if (opened.size <= size * LARGEST_PART) seen.set(key, opened.size)
    return opened
  }

  // Forgets an image, whether or not it could be deleted.
  const telling = tellingOfDeletes(store, {
    ...witness,
    deleted(keys) {
      for (const key of keys) {
        loading.delete(key)
        seen.delete(key)
        held.delete(key)
      }
      witness.deleted(keys)
    },
  })

  return {
    ...telling,
    facts: () => ({ hits, misses, bytes: held.calculatedSize }),

    atHand(key) {
      const entry = find(key)
      if (entry === undefined) return undefined
      hits += 1
      return lend(entry)
    },

    async stat(key) {
      const entry = find(key)
      return entry === undefined ? store.stat(key) : { size: entry.bytes.length }
    },

    async open(key, options = {}) {
      options.signal?.throwIfAborted()
      const entry = find(key)
      const isWhole = options.range === undefined
      if (isWhole && entry !== undefined) hits += 1
      else if (isWhole) misses += 1
      if (entry !== undefined) return lend(entry, options.range)
      return isWhole && options.signal === undefined ? openWhole(key, options) : store.open(key, options)
    },

    async close() {
      held.clear()
      await store.close()
    },
  }
}

async function readWhole(store: Store, key: string): Promise<Buffer> {
  const opened = await store.open(key)
  const { size, bytes, done } = opened
  // Of its own, not a piece of something larger that it would keep alive.
  const whole = Buffer.allocUnsafeSlow(size)
  let filled = 0
  if (bytes !== undefined) {
    filled = bytes.copy(whole)
    done?.(true)
  } else for await (const chunk of opened.body) filled += (chunk as Buffer).copy(whole, filled)
  if (filled !== size) throw new StoreError('the store did not send all of an image')
  return whole
}
