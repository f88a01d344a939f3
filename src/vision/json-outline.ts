import { randomBytes } from 'node:crypto'
import { BoundedText } from './bounded-text.ts'
import { ByteFinder } from './byte-finder.ts'

/** Bytes that a string may have and still be part of the outline. */
const LONGEST_STRING = 256
/** Objects and lists: an empty one takes three bytes here, and many times as much memory and time once parsed. */
const MOST_HOLDERS = 100_000
/** Members whose strings are set aside however short they are, as they may have to be replaced. */
const SET_ASIDE = new Set(['url', 'image_url', 'data'])
/** The member whose objects may have to be replaced. */
const REPLACEABLE = 'source'

const [QUOTE, BACKSLASH, COLON, COMMA] = [0x22, 0x5c, 0x3a, 0x2c]
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST] = [0x7b, 0x7d, 0x5b]

/** Where something stands in a text, in bytes: from the first to the one behind the last. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** What a JSON text says, but for its long strings, of which it says where they are. */
export interface Outline {
  readonly value: unknown
  /** Where a string stands that was set aside, its quotes included; undefined for anything else. */
  textOf(value: unknown): Span | undefined
  /** Where an object stands that is the value of a member `source`, and what it says. */
  objectOf(
    value: unknown,
  ): { readonly span: Span; readonly members: Readonly<Record<string, unknown>> } | undefined
}

/**
 * Reads a JSON text that comes in pieces, and keeps all of it but its long strings, so that a text full of images takes little memory. It
 * finds where strings begin and end; whether the rest is JSON, `JSON.parse` decides in the end.
 */
export class JsonOutliner {
  /** What stands in the place of what was set aside. Nobody can know it beforehand and send it. */
  readonly #mark = `${randomBytes(12).toString('hex')}-`
  readonly #spans: { start: number; end: number }[] = []
  /** The outline so far. */
  readonly #kept: BoundedText
  /** Objects and lists so far. */
  #holders = 0
  /** Bytes of the text before the piece at hand. */
  #before = 0
  #last = 0
  #key = ''
  #depth = 0
  /** Objects that may have to be replaced and have not ended. */
  readonly #open: { depth: number; span: { start: number; end: number } }[] = []
  #string: StringState | undefined
  #quotes = new ByteFinder(Buffer.of(), QUOTE)
  #escapes = new ByteFinder(Buffer.of(), BACKSLASH)

  /** `limit`: bytes that the outline may have; beyond, and with too many objects and lists, `push` throws a RangeError. */
  constructor(limit: number) {
    this.#kept = new BoundedText(limit)
  }

  push(piece: Buffer): void {
    this.#quotes = new ByteFinder(piece, QUOTE)
    this.#escapes = new ByteFinder(piece, BACKSLASH)
    for (let at = 0; at < piece.length; ) {
      at = this.#string === undefined ? this.#skip(piece, at) : this.#read(piece, at, this.#string)
    }
    this.#before += piece.length
  }

  /** Throws a SyntaxError where it was no JSON, or not in UTF-8. */
  end(): Outline {
    const [mark, spans] = [this.#mark, this.#spans]
    if (this.#string !== undefined) throw new SyntaxError('a string has no end')
    const value: unknown = JSON.parse(this.#kept.whole())
    return {
      value,
      textOf(value) {
        return typeof value === 'string' && value.startsWith(mark)
          ? spans[Number(value.slice(mark.length))]
          : undefined
      },
      objectOf(value) {
        const wrapped = isRecord(value) ? value[mark] : undefined
        if (!isRecord(wrapped) || !isRecord(wrapped.object)) return undefined
        const span = spans[Number(wrapped.index)]
        return span && { span, members: wrapped.object }
      },
    }
  }

  /** Goes through what is between strings. Answers where it stopped. */
  #skip(piece: Buffer, from: number): number {
    let written = from
    for (let at = from; at < piece.length; at += 1) {
      const byte = piece[at]
      if (byte === QUOTE) {
        this.#kept.push(piece.subarray(written, at))
        this.#begin(this.#before + at)
        return at + 1
      }
      if (byte === OPEN_OBJECT || byte === OPEN_LIST) this.#count()
      if (byte === OPEN_OBJECT) {
        if (this.#last === COLON && this.#key === REPLACEABLE) {
          this.#kept.push(piece.subarray(written, at))
          this.#wrap(this.#before + at)
          written = at
        }
        this.#depth += 1
      } else if (byte === CLOSE_OBJECT) {
        this.#depth -= 1
        if (this.#open.at(-1)?.depth === this.#depth) {
          this.#kept.push(piece.subarray(written, at + 1))
          this.#unwrap(this.#before + at + 1)
          written = at + 1
        }
      }
      if (byte === OPEN_OBJECT || byte === OPEN_LIST || byte === COLON || byte === COMMA) this.#last = byte
    }
    this.#kept.push(piece.subarray(written))
    return piece.length
  }

  #count(): void {
    this.#holders += 1
    if (this.#holders > MOST_HOLDERS) throw new RangeError('too many objects and lists')
  }

  #wrap(start: number): void {
    const span = { start, end: start }
    this.#open.push({ depth: this.#depth, span })
    this.#kept.push(Buffer.from(`{"${this.#mark}":{"index":${this.#spans.push(span) - 1},"object":`))
  }

  #unwrap(end: number): void {
    const open = this.#open.pop()
    if (open) open.span.end = end
    this.#kept.push(Buffer.from('}}'))
  }

  #begin(start: number): void {
    const isValue = this.#last === COLON
    const isAside = isValue && SET_ASIDE.has(this.#key)
    this.#string = { start, isValue, isAside, isEscaped: false, kept: this.#kept.size, length: 0 }
    this.#kept.push(QUOTED)
  }

  /** Goes through a string. Answers where it stopped. */
  #read(piece: Buffer, from: number, string: StringState): number {
    const end = this.#endOfString(piece, from, string)
    const stop = end === -1 ? piece.length : end
    this.#take(piece.subarray(from, stop), string)
    if (end === -1) return piece.length
    this.#finish(this.#before + end + 1, string)
    return end + 1
  }

  /** Where the quote is that ends a string; -1 if not in this piece. */
  #endOfString(piece: Buffer, from: number, string: StringState): number {
    let at = string.isEscaped ? from + 1 : from
    string.isEscaped = false
    for (;;) {
      const [quote, backslash] = [this.#quotes.from(at), this.#escapes.from(at)]
      if (quote < backslash) return quote
      if (backslash === Number.POSITIVE_INFINITY) return -1
      at = backslash + 2
      string.isEscaped = at > piece.length
      if (at >= piece.length) return -1
    }
  }

  #take(bytes: Buffer, string: StringState): void {
    string.length += bytes.length
    if (string.length > LONGEST_STRING) string.isAside = true
    if (!string.isAside) this.#kept.push(bytes)
  }

  #finish(end: number, { start, isValue, isAside, kept }: StringState): void {
    this.#string = undefined
    if (!isValue) this.#key = isAside ? '' : keyOf(this.#kept.from(kept + 1))
    if (isAside) {
      this.#kept.cutTo(kept)
      this.#kept.push(Buffer.from(`"${this.#mark}${this.#spans.push({ start, end }) - 1}`))
    }
    this.#kept.push(QUOTED)
  }
}

const QUOTED = Buffer.from('"')

interface StringState {
  readonly start: number
  /** Whether it is the value of a member, rather than a name or one of a list. */
  readonly isValue: boolean
  isAside: boolean
  isEscaped: boolean
  /** Bytes of the outline before it. */
  readonly kept: number
  length: number
}

/** A member's name. One that cannot be read is found by `JSON.parse` later. */
function keyOf(text: string): string {
  if (!text.includes('\\')) return text
  try {
    return JSON.parse(`"${text}"`)
  } catch {
    return ''
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
