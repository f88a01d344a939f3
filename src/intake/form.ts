import { problem } from '../errors.ts'
import { FormHead, MalformedForm, type PartHead } from './form-head.ts'

export { AmbiguousPart, MalformedForm } from './form-head.ts'

/** The characters that a boundary may have (RFC 2046, section 5.1.1), alone or in quotes; 70 of them at the most. */
const BOUNDARY =
  /;[ \t]*boundary=(?:"([\w'()+,./:=? -]{0,69}[\w'()+,./:=?-])"|([\w'()+,./:=?-]{1,70}))[ \t]*(?=;|$)/gi

const CR = 13
const NONE = Buffer.of()

/** The boundary that a request's `Content-Type` names; undefined if it names none, or more than one. */
export function boundaryOf(contentType: string): string | undefined {
  const [found, another] = contentType.matchAll(BOUNDARY)
  return another === undefined ? (found?.[1] ?? found?.[2]) : undefined
}

/**
 * Reads a form (multipart/form-data, RFC 7578) part by part, over any chunking of its bytes, and
 * gives the parts' contents as they come: views of the chunks, not copies, each of use until the
 * next is asked for.
 *
 * What `nextPart` and `content` throw is a `MalformedForm`, a `Problem` if there are more than
 * `mostBesideFiles` bytes that are no file's, or what the chunks fail with. Holds no more than a
 * chunk, and a part's head.
 */
export class FormReader {
  #chunks: AsyncIterator<Buffer>
  /** What ends a part's content. */
  #delimiter: Buffer
  /** What has come and was not read yet. */
  #rest: Buffer = NONE
  #head = new FormHead()
  #hasBegun = false
  /** Whether what comes next is content. */
  #isInContent = false
  /** Bytes of the whole form that have come. */
  received = 0
  /** Those of them that are a file's. */
  #ofFiles = 0
  #isInFile = false
  #mostBesideFiles: number

  constructor(chunks: AsyncIterator<Buffer>, boundary: string, mostBesideFiles = Number.POSITIVE_INFINITY) {
    this.#chunks = chunks
    this.#mostBesideFiles = mostBesideFiles
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  }

  /** The next part's head, past what is left of the one before; undefined behind the last, when the whole message has come. */
  async nextPart(): Promise<PartHead | undefined> {
    if (!this.#hasBegun) await this.#begin()
    if (this.#isInContent) for await (const _skipped of this.content());
    while (this.#rest.length < 2) await this.#readOn()
    if (this.#rest.toString('latin1', 0, 2) === '--') return this.#readOut()
    for (;;) {
      const { head, used } = this.#head.push(this.#rest)
      this.#rest = this.#rest.subarray(used)
      if (head !== undefined) {
        this.#isInContent = true
        // One without a name is no file of ours, and counts with the rest of the form.
        this.#isInFile = head.isFile && head.name !== ''
        return head
      }
      await this.#readOn()
    }
  }

  /** The first delimiter may lack its line break. What stands before it is like a part's content that nobody reads. */
  async #begin(): Promise<void> {
    const dashes = this.#delimiter.subarray(2)
    while (this.#rest.length < dashes.length) await this.#readOn()
    this.#hasBegun = true
    this.#isInContent = this.#rest.compare(dashes, 0, dashes.length, 0, dashes.length) !== 0
    if (!this.#isInContent) this.#rest = this.#rest.subarray(dashes.length)
  }

  /** What is left of the current part. */
  async *content(): AsyncGenerator<Buffer> {
    for (;;) {
      const end = this.#rest.indexOf(this.#delimiter)
      const sure = end >= 0 ? end : this.#rest.length - this.#lengthOfDoubt()
      const bytes = this.#rest.subarray(0, sure)
      this.#rest = this.#rest.subarray(end >= 0 ? end + this.#delimiter.length : sure)
      if (end >= 0) this.#isInContent = false
      if (this.#isInFile) this.#ofFiles += bytes.length
      if (bytes.length > 0) yield bytes
      if (end >= 0) return
      await this.#readOn()
    }
  }

  /** How many of the last bytes may be the first of a delimiter. */
  #lengthOfDoubt(): number {
    const rest = this.#rest
    const from = Math.max(0, rest.length - this.#delimiter.length + 1)
    for (let at = rest.indexOf(CR, from); at >= 0; at = rest.indexOf(CR, at + 1)) {
      const length = rest.length - at
      if (rest.compare(this.#delimiter, 0, length, at) === 0) return length
    }
    return 0
  }

  async #readOn(): Promise<void> {
    this.#bound()
    // Copied, as nothing of a chunk may be kept beyond this: a few bytes, or a part's head.
    const rest = Buffer.from(this.#rest)
    const { value, done } = await this.#chunks.next()
    if (done) throw new MalformedForm('it ends before its last boundary')
    this.received += value.length
    this.#rest = rest.length === 0 ? value : Buffer.concat([rest, value])
  }

  /** What stands behind the last boundary is nobody's, but the message has to be whole. */
  async #readOut(): Promise<undefined> {
    this.#rest = NONE
    for (;;) {
      this.#bound()
      const { value, done } = await this.#chunks.next()
      if (done) return
      this.received += value.length
    }
  }

  /** Throws if too much of what was read is no file's. */
  #bound(): void {
    if (this.received - this.#rest.length - this.#ofFiles > this.#mostBesideFiles)
      throw problem('body_too_large')
  }
}
