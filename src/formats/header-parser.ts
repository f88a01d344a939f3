/** What an image's header says of it. */
export interface Header {
  /** Pixels, as the header has it: `stage` refuses 0. */
  readonly width: number
  readonly height: number
  /** More than one frame. */
  readonly animated: boolean
}

/**
 * The bytes are not the image they begin as; `message` is a phrase that may be shown to the client.
 */
export class InvalidImage extends Error {
  override name = 'InvalidImage'
}

/**
 * Scans a run of bytes that a parser has no use for, such as fill bytes: a plain loop over each
 * chunk, where a step of the generator for each piece would cost a hundred times as much.
 *
 * Returns where in the chunk, from `start` on, the run has ended: the offset of the first byte that
 * is not part of it, or the chunk's length if the run goes on. May throw `InvalidImage`.
 */
export type Scan = (chunk: Buffer, start: number) => number

/**
 * What a parser asks for: so many bytes (above 0), to skip so many (below 0), or to skip what a
 * `Scan` skips.
 */
export type Request = number | Scan

/**
 * A format's header parser: a generator that asks for bytes and returns what they say.
 *
 * Bytes are handed over in one piece (fewer than asked for only where the body ends) and are valid
 * until the parser asks for more: it keeps numbers, not buffers. It throws `InvalidImage`. Written
 * this way, a parser reads like one over a whole file but runs over a stream, whatever the sizes of
 * its chunks, and no more is held than was asked for last.
 */
export type HeaderParser = Parsing<Header>

/** A part of a parser. */
export type Parsing<T> = Generator<Request, T, Buffer>

const NOTHING = Buffer.alloc(0)
/** Tells a parser that all bytes it wanted to skip were there. */
const SKIPPED = Buffer.alloc(1)

/**
 * Requests that a parser may make: some 1 600 JPEG segments, 2 500 chunks of a PNG or WebP, or 1
 * 250 extensions of a GIF, which take about two milliseconds. Of 600 real images none has more than
 * 11, 9 and 4 of them; what is large, such as a colour profile, comes in segments of 64 KB, so that
 * these are enough for 100 MB of metadata.
 */
const MOST_REQUESTS = 5000

/** For a header that takes more work than any real image does. */
export function tooManyPieces(): InvalidImage {
  return new InvalidImage('its header is in too many pieces')
}

/** Asks for exactly `count` bytes; a body that ends before is an `InvalidImage`. */
export function* take(count: number): Parsing<Buffer> {
  const bytes = yield count
  if (bytes.length < count) throw new InvalidImage('it ends inside its header')
  return bytes
}

/** Skips `count` bytes; a body that ends before is an `InvalidImage`. */
export function* skip(count: number): Parsing<void> {
  if (count > 0 && (yield -count).length === 0) throw new InvalidImage('it ends before its header says')
}

/**
 * Runs a header parser over a body that arrives in chunks of any size, in time linear in its
 * length.
 */
export class HeaderReader {
  #parser: HeaderParser
  #request: Request = 0
  #requests = 0
  /** The beginning of what was asked for, where the chunks up to now did not have all of it. */
  #held: Buffer = NOTHING
  #header: Header | undefined

  constructor(parser: HeaderParser) {
    this.#parser = parser
    this.#step(NOTHING)
  }

  /** Whether the header is known and further chunks would be ignored. */
  get done(): boolean {
    return this.#header !== undefined
  }

  /** Takes the next chunk of the body, and keeps nothing of it. Throws `InvalidImage`. */
  push(chunk: Buffer): void {
    for (let at = 0; !this.done && at < chunk.length; ) at = this.#read(chunk, at)
  }

  /**
   * Skips bytes of the body that come next and that the header does not depend on, at most `most`.
   * Returns how many: a source that can be read from anywhere need not read them.
   */
  skip(most: number): number {
    const request = this.#request
    if (this.done || typeof request === 'function' || request >= 0 || most < 1) return 0
    const count = Math.min(-request, most)
    this.#request = request + count
    if (this.#request === 0) this.#step(SKIPPED)
    return count
  }

  /** Says that the body has ended, and returns what its header said. Throws `InvalidImage`. */
  end(): Header {
    // Each step tells the parser that there is nothing more; it returns or throws within a few.
    while (this.#header === undefined) this.#step(this.#held)
    return this.#header
  }

  /**
   * Does what is asked for with the bytes of a chunk from `start` on. Returns where the next ones
   * are.
   */
  #read(chunk: Buffer, start: number): number {
    const request = this.#request
    if (typeof request === 'function') {
      const end = request(chunk, start)
      if (end < chunk.length) this.#step(NOTHING)
      return end
    }
    if (request < 0) return start + this.skip(chunk.length - start)
    const end = Math.min(start + request - this.#held.length, chunk.length)
    const bytes = chunk.subarray(start, end)
    if (bytes.length === request) this.#step(bytes)
    else {
      // A copy, as the chunk is not ours to keep.
      this.#held = Buffer.concat([this.#held, bytes])
      if (this.#held.length === request) this.#step(this.#held)
    }
    return end
  }

  #step(bytes: Buffer): void {
    this.#held = NOTHING
    this.#requests += 1
    if (this.#requests > MOST_REQUESTS) throw tooManyPieces()
    const { done, value } = this.#parser.next(bytes)
    if (done) this.#header = value
    else this.#request = value
  }
}
