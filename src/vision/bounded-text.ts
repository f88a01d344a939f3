/** A text in UTF-8 that is put together piece by piece, and has an end. */
export class BoundedText {
  /** Bytes so far. */
  size = 0
  readonly #limit: number
  #bytes = Buffer.allocUnsafe(1024)

  /** `limit`: bytes. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Throws a RangeError beyond the limit. */
  push(bytes: Uint8Array): void {
    const size = this.size + bytes.length
    if (size > this.#limit) throw new RangeError('too much besides long strings')
    if (size > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], 2 * size)
    this.#bytes.set(bytes, this.size)
    this.size = size
  }

  cutTo(size: number): void {
    this.size = size
  }

  /** The text from a byte on, with a sign in place of what is not in UTF-8. */
  from(start: number): string {
    return this.#bytes.toString('utf8', start, this.size)
  }

  /** Throws a SyntaxError where it is not in UTF-8. */
  whole(): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.#bytes.subarray(0, this.size))
    } catch (cause) {
      throw new SyntaxError('not in UTF-8', { cause })
    }
  }
}
