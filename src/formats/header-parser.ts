/** What an image's header says of it. */
export interface Header {
  /** Pixels, as the header has it: `stage` refuses 0. */
  readonly width: number
  readonly height: number
  /** More than one frame. */
  readonly animated: boolean
}

/** The bytes are not the image they begin as; `message` is a phrase that may be shown to the client. */
export class InvalidImage extends Error {
  override name = 'InvalidImage'
}

/**
 * A format's header parser: a generator that asks for bytes and returns what they say.
 *
 * It yields a positive number for that many bytes, which it is handed in one piece (fewer only where the
 * body ends), or a negative number to pass over that many. It throws `InvalidImage`. Written this way, a
 * parser reads like one over a whole file but runs over a stream, whatever the chunks' sizes, and holds no more than it
 * asked for last.
 */
export type HeaderParser = Generator<number, Header, Buffer>

const NOTHING = Buffer.alloc(0)

/** Pieces that a header may be read in, with one more for each so many bytes of the file: else one of empty pieces would cost seconds. */
const MOST_PIECES = 100_000
const BYTES_A_PIECE = 64

/** Asks for exactly `count` bytes; a body that ends before is an `InvalidImage`. */
export function* take(count: number): Generator<number, Buffer, Buffer> {
  const bytes = yield count
  if (bytes.length < count) throw new InvalidImage('it ends inside its header')
  return bytes
}

/** Passes over `count` bytes; a body that ends before is an `InvalidImage`. */
export function* skip(count: number): Generator<number, void, Buffer> {
  // A passed-over stretch is handed back as one byte when it was all there, so that its end is known.
  if (count > 0 && (yield -count).length === 0) throw new InvalidImage('it ends before its header says')
}

/** Runs a header parser over a body that arrives in chunks of any size. */
export class HeaderReader {
  #parser: HeaderParser
  #wanted = 0
  #held: Buffer = NOTHING
  #header: Header | undefined
  #pieces = 0
  #received = 0

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
    this.#received += chunk.length
    let rest = chunk
    while (!this.done && rest.length > 0) rest = this.#wanted < 0 ? this.#passOver(rest) : this.#collect(rest)
  }

  /** Says that the body has ended, and returns what its header said. Throws `InvalidImage`. */
  end(): Header {
    // Each step tells the parser that there is nothing more; it returns or throws within a few.
    while (this.#header === undefined) this.#step(this.#held)
    return this.#header
  }

  #passOver(chunk: Buffer): Buffer {
    const passed = Math.min(-this.#wanted, chunk.length)
    this.#wanted += passed
    if (this.#wanted === 0) this.#step(chunk.subarray(0, 1))
    return chunk.subarray(passed)
  }

  #collect(chunk: Buffer): Buffer {
    const missing = this.#wanted - this.#held.length
    // A copy, as a parser may keep what it asked for and the chunk is not ours to keep.
    const bytes = Buffer.concat([this.#held, chunk.subarray(0, missing)])
    if (bytes.length < this.#wanted) this.#held = bytes
    else this.#step(bytes)
    return chunk.subarray(missing)
  }

  #step(bytes: Buffer): void {
    this.#held = NOTHING
    this.#pieces += 1
    if (this.#pieces > MOST_PIECES + this.#received / BYTES_A_PIECE)
      throw new InvalidImage('its header is in too many pieces')
    const { done, value } = this.#parser.next(bytes)
    if (done) this.#header = value
    else this.#wanted = value
  }
}
