/** Finds a byte in a piece again and again, each time further on. What was found counts until it has been passed, as looking may take long. */
export class ByteFinder {
  readonly #piece: Buffer
  readonly #byte: number
  #found = -1

  constructor(piece: Buffer, byte: number) {
    this.#piece = piece
    this.#byte = byte
  }

  /** Where the next one is, at the place given or behind it; Infinity for none. */
  from(at: number): number {
    if (this.#found >= at) return this.#found
    const found = this.#piece.indexOf(this.#byte, at)
    this.#found = found === -1 ? Number.POSITIVE_INFINITY : found
    return this.#found
  }
}
