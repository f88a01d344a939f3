import { LRUCache } from 'lru-cache'
import { semaphore } from '../core/semaphore.ts'
import { busy } from '../errors.ts'
import { FORMATS, type Header, HeaderReader } from '../formats.ts'
import type { ImageName } from '../name.ts'
import type { Opened, Store } from '../store/store.ts'

/** Headers that are remembered, by name: some 200 bytes each. */
const MOST_REMEMBERED = 10_000

/** Bytes that are read first, which hold nearly every header, and bytes of each further read. */
const FIRST_READ = 64 * 1024
const NEXT_READ = 1024 ** 2

/**
 * Headers that are read from the store at once, as with lists: each may take a megabyte of memory.
 * A key that reads `share` of them waits until other keys have had their turn.
 */
const READS = { slots: 4, share: 2, waiting: 256, ofKey: 64, patience: 10_000 }

/** Who asks. */
export interface Asker {
  readonly keyId: string
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal
}

/** Size in bytes, width, height and animation of stored images. */
export interface StoredHeaders {
  /**
   * What an image's header says. Asks the store each time whether the image is still there, and
   * reads it only if its header is not remembered. Rejects with `ObjectNotFound`, with
   * `server_busy` if too many others are being read, with the signal's reason, or as the store
   * does.
   */
  read(name: ImageName, asker: Asker): Promise<{ size: number } & Header>

  /**
   * Remembers what an upload has found out: it holds for good, as a name never gets other bytes.
   */
  remember(name: ImageName, header: Header): void
}

/** Reads headers once, a few at a time, and remembers them in an LRU cache. */
export function storedHeaders(store: Store): StoredHeaders {
  const known = new LRUCache<string, Header>({ max: MOST_REMEMBERED })
  const slots = semaphore({
    slots: READS.slots,
    share: () => READS.share,
    queue: { length: READS.waiting, ofKey: () => READS.ofKey, patience: READS.patience },
    refusal: () => busy('headers'),
  })

  async function find(name: ImageName, size: number, { keyId, signal }: Asker): Promise<Header> {
    using _slot = await slots.acquire(keyId, signal)
    // Somebody else may have read it meanwhile.
    const header = known.get(name.text) ?? (await readHeader(name, { size, store, signal }))
    known.set(name.text, header)
    return header
  }

  return {
    async read(name, asker) {
      const { size } = await store.stat(name.text)
      return { size, ...(known.get(name.text) ?? (await find(name, size, asker))) }
    },
    remember: (name, header) => void known.set(name.text, header),
  }
}

interface ReadOptions {
  /** Bytes of the whole image. */
  readonly size: number
  readonly store: Store
  readonly signal: AbortSignal
}

/** Reads as much of an image as its header takes, and nothing of what the header lets it skip. */
async function readHeader(name: ImageName, { size, store, signal }: ReadOptions): Promise<Header> {
  const reader = new HeaderReader(FORMATS[name.format].header())
  for (let at = 0, length = FIRST_READ; at < size && !reader.done; length = NEXT_READ) {
    const range = { start: at, end: Math.min(at + length, size) - 1 }
    for await (const chunk of chunksOf(await store.open(name.text, { range, signal }))) reader.push(chunk)
    at = range.end + 1
    at += reader.skip(size - at)
  }
  return reader.end()
}

/** The bytes of what is open; those that the store lends go back to it, for the next read. */
async function* chunksOf(opened: Opened): AsyncGenerator<Buffer> {
  if (opened.bytes === undefined) return yield* opened.body
  try {
    yield opened.bytes
  } finally {
    opened.done?.(true)
  }
}
