import { problem } from '../errors.ts'

/** Characters that are decoded at a time, at the least. */
const PIECE = 16 * 1024
/** What stands before the image in a data URL can be at most this long. */
const LONGEST_PREFIX = 256

/**
 * Decodes base64 that comes in pieces, alone or as a data URL: in the strict alphabet, padded, with nothing in between. Throws
 * `base64_invalid`.
 */
export class Base64Decoder {
  #text = ''
  #isPastPrefix = false
  /** Characters so far. */
  received = 0

  push(text: string): void {
    this.received += text.length
    this.#text += text
  }

  /** The bytes of what has come, but for the end, which may be padded. */
  take(): Buffer {
    if (!this.#isPastPrefix) this.#passPrefix(false)
    if (!this.#isPastPrefix || this.#text.length <= PIECE) return Buffer.of()
    const length = this.#text.length - 4 - ((this.#text.length - 4) % 4)
    const ready = this.#text.slice(0, length)
    this.#text = this.#text.slice(length)
    if (!/^[A-Za-z0-9+/]*$/.test(ready)) throw problem('base64_invalid')
    return Buffer.from(ready, 'base64')
  }

  /** The bytes of the rest. */
  end(): Buffer {
    if (!this.#isPastPrefix) this.#passPrefix(true)
    const isBase64 = /^[A-Za-z0-9+/]*={0,2}$/.test(this.#text) && this.#text.length % 4 === 0
    const bytes = Buffer.from(this.#text, 'base64')
    // Bits that no byte takes must be zero, or two texts would be the same image.
    if (!isBase64 || !bytes.toString('base64').endsWith(this.#text.slice(-4))) throw problem('base64_invalid')
    return bytes
  }

  /** Takes off `data:image/png;base64,`, once it is whole. The type is not used: the bytes say what they are. */
  #passPrefix(isEnd: boolean): void {
    if (!isEnd && this.#text.length < 'data:'.length) return
    if (/^data:/i.test(this.#text)) {
      const comma = this.#text.indexOf(',')
      if (comma === -1 && !isEnd && this.#text.length < LONGEST_PREFIX) return
      if (comma === -1 || comma > LONGEST_PREFIX || !/;base64$/i.test(this.#text.slice(0, comma)))
        throw problem('base64_invalid')
      this.#text = this.#text.slice(comma + 1)
    }
    this.#isPastPrefix = true
  }
}
