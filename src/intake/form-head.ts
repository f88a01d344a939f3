/** Bytes of a part's head, and lines of it: more than any client sends, and few enough to be read at once. */
const LONGEST = 8 * 1024
const MOST_LINES = 32

/** A form whose bytes break the rules of RFC 7578, or end before it does. */
export class MalformedForm extends Error {
  override name = 'MalformedForm'
}

/**
 * A form with a part that says twice what it may say once: of two names, other readers of the form
 * may take the other one.
 */
export class AmbiguousPart extends MalformedForm {
  override name = 'AmbiguousPart'
  /** What there are two of. */
  readonly twice: Once

  constructor(twice: Once) {
    super(`a part has two ${twice}`)
    this.twice = twice
  }
}

/** Headers and parameters that a part may have once. */
const ONCE = ['Content-Disposition', 'Content-Type', 'name', 'filename', 'filename*'] as const
type Once = (typeof ONCE)[number]

/** What a part says of itself, as far as anybody wants to know. */
export interface PartHead {
  /** Empty for a part that has none. */
  readonly name: string
  /** Whether it has a file name, or says that it is a file's bytes. */
  readonly isFile: boolean
}

const END = Buffer.from('\r\n\r\n')
/** RFC 9110, section 5.1; the value is anything but a control character. */
const LINE = /^([\w!#$%&'*+.^`|~-]+):[ \t]*([^\0\r\n]*)$/
/** A parameter, in quotes, with what these hide, or as it comes: some clients put a lone backslash before the last quote. */
const PARAMETER = /;[ \t]*([\w!#$%&'*+.^`|~-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;]*))/g

/** Gathers a part's head, from behind the boundary to the empty line. */
export class FormHead {
  #searched = 0

  /** Looks for the head at the start of `bytes`, which grow from call to call; `used` of them are its own, once it is there. */
  push(bytes: Buffer): { head?: PartHead; used: number } {
    const end = bytes.indexOf(END, this.#searched)
    if ((end < 0 ? bytes.length : end) > LONGEST) throw new MalformedForm('the head of a part is too long')
    if (end < 0) {
      this.#searched = Math.max(0, bytes.length - END.length + 1)
      return { used: 0 }
    }
    this.#searched = 0
    return { head: parseHead(bytes.toString('utf8', 0, end)), used: end + END.length }
  }
}

/** `text` begins with the line break behind the boundary, and has none at its end. */
function parseHead(text: string): PartHead {
  // A line that begins with a space goes on from the one before (RFC 5322, section 2.2.3).
  const [behindBoundary, ...lines] = text.replaceAll(/(?<=[^\r\n])\r\n(?=[ \t])/g, '').split('\r\n')
  if (behindBoundary !== '' || lines.length > MOST_LINES)
    throw new MalformedForm('a boundary is none, or a head too long')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name, value = ''] = LINE.exec(line) ?? []
    if (name === undefined) throw new MalformedForm('a line in the head of a part is none')
    add(headers, name, value)
  }
  const disposition = headers.get('content-disposition') ?? ''
  const type = headers.get('content-type') ?? ''
  if (!/^form-data[ \t]*(;|$)/i.test(disposition)) return { name: '', isFile: false }
  const given = new Map<string, string>()
  for (const [, key = '', quoted, plain = ''] of disposition.matchAll(PARAMETER))
    add(given, key, quoted ?? plain.trim())
  // RFC 7578 has no such parameter, but some readers take it for the name.
  if (given.has('name') && given.has('name*')) throw new AmbiguousPart('name')
  return {
    name: given.get('name') ?? '',
    isFile:
      given.has('filename') || given.has('filename*') || /^application\/octet-stream *(;|$)/i.test(type),
  }
}

/** Adds what is named without regard to case. Of what means nothing here, the last counts. */
function add(to: Map<string, string>, name: string, value: string): void {
  const key = name.toLowerCase()
  const once = to.has(key) && ONCE.find((each) => each.toLowerCase() === key)
  if (once) throw new AmbiguousPart(once)
  to.set(key, value)
}
