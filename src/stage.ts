import { createHash } from 'node:crypto'
import { problem } from './errors.ts'
import {
  FORMATS,
  type Format,
  type Header,
  HeaderReader,
  InvalidImage,
  MAGIC_LENGTH,
  sniff,
} from './formats.ts'
import { Keeper } from './keeper.ts'
import type { Spool } from './spool.ts'
import type { StagedBytes } from './store/store.ts'

/** A whole image on its way to the store. Disposing of it removes its temp file, if it has one, and ends its `bytes`. */
export interface Staged extends StagedBytes, AsyncDisposable {
  readonly format: Format
  readonly header: Header
}

export interface StageOptions {
  readonly spool: Spool
  /** The digest to take, if the store wants one. */
  readonly digest?: 'md5' | undefined
  /** Bytes; a body of exactly this many passes. */
  readonly maxFileSize: number
  /** Pixels of width × height. */
  readonly maxPixels: number
  /** Whether even a small one is to wait in a temp file: for one of many that wait together. */
  readonly onDisk?: boolean
}

/**
 * Reads a body once, to its end: counts it, recognises its format, reads its header and keeps its bytes.
 *
 * The body must fail rather than end if it is not whole; nothing of a piece is kept when the next is asked for. Rejects with a `Problem` for a body that is empty, too large or not one
 * of the four formats, with a `StoreError` if a temp file cannot be written, and with whatever the body fails with;
 * then nothing is left. Memory is bounded whatever the size.
 */
export async function stage(body: AsyncIterable<Buffer>, options: StageOptions): Promise<Staged> {
  const recogniser = new Recogniser(options.maxPixels)
  const keeper = new Keeper(options.spool, options.digest && createHash(options.digest))
  try {
    for await (const chunk of body) {
      if (keeper.size + chunk.length > options.maxFileSize) {
        throw problem('file_too_large', { limit: options.maxFileSize })
      }
      recogniser.push(chunk)
      await keeper.push(chunk)
    }
    if (keeper.size === 0) throw problem('file_empty')
    return { ...recogniser.end(), ...(await keeper.end(options)) }
  } catch (error) {
    await keeper.discard()
    throw error
  }
}

/** Reads a body as `stage` does, and refuses it in the same way, but keeps nothing of it. Resolves with what it is, and its size in bytes. */
export async function inspect(
  body: AsyncIterable<Buffer>,
  { maxFileSize, maxPixels }: Pick<StageOptions, 'maxFileSize' | 'maxPixels'>,
): Promise<Pick<Staged, 'format' | 'header' | 'size'>> {
  const recogniser = new Recogniser(maxPixels)
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > maxFileSize) throw problem('file_too_large', { limit: maxFileSize })
    recogniser.push(chunk)
  }
  if (size === 0) throw problem('file_empty')
  return { ...recogniser.end(), size }
}

/** Decides what a body is, as early as it can. */
class Recogniser {
  #maxPixels: number
  /** The first bytes, as long as they are too few to tell. */
  #head: Buffer = Buffer.of()
  #found: { format: Format; reader: HeaderReader } | undefined

  constructor(maxPixels: number) {
    this.#maxPixels = maxPixels
  }

  push(chunk: Buffer): void {
    if (this.#found !== undefined) {
      this.#read(this.#found, chunk)
      return
    }
    if (this.#head.length + chunk.length >= MAGIC_LENGTH) this.#recognise(chunk)
    else this.#head = Buffer.concat([this.#head, chunk])
  }

  end(): { format: Format; header: Header } {
    const { format, reader } = this.#found ?? this.#recognise(Buffer.of())
    const header = orProblem(format, () => reader.end())
    const { width, height } = header
    if (width < 1 || height < 1 || width * height > this.#maxPixels) {
      throw problem('image_dimensions', { width, height, limit: this.#maxPixels })
    }
    return { format, header }
  }

  #recognise(chunk: Buffer) {
    const head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk])
    const format = sniff(head)
    if (format === undefined) throw problem('format_unsupported')
    const found = { format, reader: new HeaderReader(FORMATS[format].header()) }
    this.#found = found
    this.#read(found, head)
    return found
  }

  #read({ format, reader }: { format: Format; reader: HeaderReader }, chunk: Buffer): void {
    if (!reader.done) orProblem(format, () => reader.push(chunk))
  }
}

function orProblem<T>(format: Format, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof InvalidImage) throw problem('image_invalid', { format, reason: error.message })
    throw error
  }
}
