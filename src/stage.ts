import { createHash } from 'node:crypto'
import { fileTypeFromBuffer } from 'file-type'
import { problem } from './errors.ts'
import { FORMATS, type Format, type Header, HeaderReader, InvalidImage, sniff } from './formats.ts'
import { Keeper } from './keeper.ts'
import type { Spool } from './spool.ts'
import type { StagedBytes } from './store/store.ts'

/** What file-type needs at the most to name a format. */
const SAMPLE_BYTES = 4100

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
}

/**
 * Reads a body once, to its end: counts it, recognises its format, reads its header and keeps its bytes.
 *
 * The body must fail rather than end if it is not whole. Rejects with a `Problem` for a body that is empty, too large or not one
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
      await recogniser.push(chunk)
      await keeper.push(chunk)
    }
    if (keeper.size === 0) throw problem('file_empty')
    return { ...(await recogniser.end()), ...(await keeper.end()) }
  } catch (error) {
    await keeper.discard()
    throw error
  }
}

/** Decides what a body is, as early as it can. */
class Recogniser {
  #maxPixels: number
  #sample: Buffer[] = []
  #sampled = 0
  #found: { format: Format; reader: HeaderReader } | undefined

  constructor(maxPixels: number) {
    this.#maxPixels = maxPixels
  }

  async push(chunk: Buffer): Promise<void> {
    if (this.#found !== undefined) return this.#read(this.#found, chunk)
    this.#sample.push(chunk)
    this.#sampled += chunk.length
    if (this.#sampled >= SAMPLE_BYTES) await this.#recognise()
  }

  async end(): Promise<{ format: Format; header: Header }> {
    const { format, reader } = this.#found ?? (await this.#recognise())
    const header = orProblem(format, () => reader.end())
    const { width, height } = header
    if (width < 1 || height < 1 || width * height > this.#maxPixels) {
      throw problem('image_dimensions', { width, height, limit: this.#maxPixels })
    }
    return { format, header }
  }

  async #recognise() {
    const [first = Buffer.of(), ...others] = this.#sample
    const sample = others.length === 0 ? first : Buffer.concat(this.#sample)
    this.#sample = []
    const format = sniff(sample)
    if (format === undefined || (await secondOpinion(sample)) !== format) throw problem('format_unsupported')
    this.#found = { format, reader: new HeaderReader(FORMATS[format].header()) }
    this.#read(this.#found, sample)
    return this.#found
  }

  #read({ format, reader }: { format: Format; reader: HeaderReader }, chunk: Buffer): void {
    if (!reader.done) orProblem(format, () => reader.push(chunk))
  }
}

/** What file-type said of bodies that begin with these bytes. What comes behind them, the header parsers judge. */
const opinions = new Map<string, Format | undefined>()
const OPINION_BYTES = 16
const MOST_OPINIONS = 1000

/** A second opinion on the bytes at the start. It takes as long as all else that is done with a small image, so it is asked for once. */
async function secondOpinion(sample: Buffer): Promise<Format | undefined> {
  const start = sample.toString('latin1', 0, OPINION_BYTES)
  if (opinions.has(start)) return opinions.get(start)
  const opinion = await formatByLibrary(sample)
  if (opinions.size === MOST_OPINIONS) opinions.clear()
  opinions.set(start, opinion)
  return opinion
}

/** What file-type says, which alone would take much that is no image. */
async function formatByLibrary(sample: Buffer): Promise<Format | undefined> {
  // It is a best-effort guesser, and what it throws at is none of the formats.
  const guess = await fileTypeFromBuffer(sample.subarray(0, SAMPLE_BYTES)).catch(() => undefined)
  const mediaType = guess?.mime === 'image/apng' ? 'image/png' : guess?.mime
  return (Object.keys(FORMATS) as Format[]).find((format) => FORMATS[format].mediaType === mediaType)
}

function orProblem<T>(format: Format, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof InvalidImage) throw problem('image_invalid', { format, reason: error.message })
    throw error
  }
}
