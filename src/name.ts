import { createHmac, type Hmac, randomFillSync, timingSafeEqual } from 'node:crypto'
import { FORMATS, type Format } from './formats.ts'

/** Crockford's base 32 in lower case: its order is that of the values, and it has no i, l, o or u. */
const DIGITS = '0123456789abcdefghjkmnpqrstvwxyz'
const TIME_WIDTH = 7
const RANDOM_WIDTH = 26
/** 60 bits. With 35, whoever can make many keys would find one that owns somebody else's image. */
const OWNER_WIDTH = 12
/** Of the random digits, those that are made from the others where a name is given out before its image is there. */
const MARK_WIDTH = 7
/** The longest that an image can live without living forever, in seconds: a thousand years, for which its name has room. */
export const LONGEST_LIFETIME = 1000 * 365 * 86_400
const NEVER = 'z'.repeat(TIME_WIDTH)

/** Characters of a name before its extension. */
export const STEM_WIDTH = 2 * TIME_WIDTH + 1 + RANDOM_WIDTH + OWNER_WIDTH

const DIGIT = '[0-9a-hjkmnp-tv-z]'
const TIME = `(${DIGIT}{${TIME_WIDTH}})`
const SHAPE = new RegExp(`^${TIME}${TIME}([jpgwkqhx])${DIGIT}{${RANDOM_WIDTH + OWNER_WIDTH}}\\.([a-z]+)$`)

/** The letters that stand for a format: of an image that was named when it was there, and of one that was named before. */
const LETTERS: Readonly<Record<Format, { readonly stored: string; readonly presigned: string }>> = {
  jpeg: { stored: 'j', presigned: 'k' },
  png: { stored: 'p', presigned: 'q' },
  gif: { stored: 'g', presigned: 'h' },
  webp: { stored: 'w', presigned: 'x' },
}

/** What an image's name says: it is the image's whole record. */
export interface ImageName {
  /** The name as it stands in a URL, and the key of a store: 53 characters and an extension. */
  readonly text: string
  /** Unix seconds; `Infinity` for an image that is kept until it is deleted. */
  readonly expires: number
  /** Unix seconds. */
  readonly created: number
  readonly format: Format
  /** Whether it was given out before the image was there, for a client to send it to a link. */
  readonly presigned: boolean
}

export interface NameFacts {
  readonly created: number
  readonly expires: number
  readonly format: Format
  /** Id of the key that uploads. */
  readonly keyId: string
  /** Signing secret, at least 32 bytes. */
  readonly secret: Buffer
  readonly presigned?: boolean
}

/** Makes the name of a new image, with 130 bits from a CSPRNG: whoever knows the name may read the image. */
export function makeName({
  created,
  expires,
  format,
  keyId,
  secret,
  presigned = false,
}: NameFacts): ImageName {
  const letter = LETTERS[format][presigned ? 'presigned' : 'stored']
  const start = encodeTime(expires) + encodeTime(created) + letter
  const facts = start + (presigned ? markedDigits(start, secret) : randomDigits(RANDOM_WIDTH))
  const text = `${facts}${ownerMark(facts, keyId, secret)}.${FORMATS[format].extension}`
  return { text, expires, created, format, presigned }
}

/** Reads a name; anything that `makeName` cannot have made is undefined. */
export function parseName(text: string): ImageName | undefined {
  const [, expires, created, letter, extension] = SHAPE.exec(text) ?? []
  if (expires === undefined || created === undefined || letter === undefined) return undefined
  const format = formatOfLetter(letter)
  if (format === undefined || FORMATS[format].extension !== extension) return undefined
  const presigned = letter === LETTERS[format].presigned
  return {
    text,
    expires: expires === NEVER ? Number.POSITIVE_INFINITY : decode(expires),
    created: decode(created),
    format,
    presigned,
  }
}

/**
 * Whether we gave the name out for an image that was yet to be sent. Such a name may have to be looked for in another place, which nobody
 * shall make us do with names that they made up. Compares in constant time.
 */
export function isAnnounced({ text, presigned }: ImageName, secret: Buffer): boolean {
  const end = 2 * TIME_WIDTH + 1 + RANDOM_WIDTH
  const marked = text.slice(0, end - MARK_WIDTH)
  const mark = text.slice(end - MARK_WIDTH, end)
  return presigned && timingSafeEqual(Buffer.from(mark), Buffer.from(announcedMark(marked, secret)))
}

/** Whether the key with this id made the name: the name carries a keyed mark of it. Compares in constant time. */
export function isOwner(name: ImageName, { keyId, secret }: { keyId: string; secret: Buffer }): boolean {
  const end = name.text.indexOf('.')
  const facts = name.text.slice(0, end - OWNER_WIDTH)
  const mark = name.text.slice(end - OWNER_WIDTH, end)
  return timingSafeEqual(Buffer.from(mark), Buffer.from(ownerMark(facts, keyId, secret)))
}

/** Whether the image is no longer to be served at `now`, in Unix milliseconds. */
export function isExpired(name: ImageName, now: number): boolean {
  return now >= name.expires * 1000
}

/** The first key, in a store's order, that is still alive at `now`, in Unix milliseconds: all below have expired. */
export function firstLiveKey(now: number): string {
  return encodeTime(Math.floor(now / 1000) + 1)
}

/** Where an image stands below `UPLOAD_PATH`: `2026/01/<name>`, by the UTC month in which it was made. */
export function imagePath(name: ImageName): string {
  const made = new Date(name.created * 1000)
  const month = String(made.getUTCMonth() + 1).padStart(2, '0')
  return `${made.getUTCFullYear()}/${month}/${name.text}`
}

/** The id of an image in the `/v1` API: `file_` and the name without its extension. */
export function imageId(name: ImageName): string {
  return `file_${name.text.slice(0, name.text.indexOf('.'))}`
}

/** Reads an id that `imageId` made; anything else is undefined. */
export function parseId(id: string): ImageName | undefined {
  const text = id.startsWith('file_') ? id.slice('file_'.length) : ''
  const format = formatOfLetter(text.charAt(2 * TIME_WIDTH))
  return format && parseName(`${text}.${FORMATS[format].extension}`)
}

/** The other way round, as each request asks for it. */
const FORMAT_OF_LETTER: ReadonlyMap<string, Format> = new Map(
  (Object.keys(LETTERS) as Format[]).flatMap((format) =>
    Object.values(LETTERS[format]).map((letter) => [letter, format] as const),
  ),
)

function formatOfLetter(letter: string): Format | undefined {
  return FORMAT_OF_LETTER.get(letter)
}

function ownerMark(facts: string, keyId: string, secret: Buffer): string {
  // The facts have a fixed length, so the two parts of the message cannot run into each other.
  return digitsOf(createHmac('sha256', secret).update(keyId).update(facts), OWNER_WIDTH)
}

/** Random digits, the last of which only we can make: to all others, all 26 are random. */
function markedDigits(start: string, secret: Buffer): string {
  const random = randomDigits(RANDOM_WIDTH - MARK_WIDTH)
  return random + announcedMark(start + random, secret)
}

function announcedMark(text: string, secret: Buffer): string {
  // With a word of its own, as the secret makes other marks, too.
  return digitsOf(createHmac('sha256', secret).update(`announced ${text}`), MARK_WIDTH)
}

/** So many digits of a keyed digest, each of five bits. */
function digitsOf(hmac: Hmac, width: number): string {
  return digitsFrom(hmac.digest().subarray(0, width))
}

function encodeTime(seconds: number): string {
  return seconds === Number.POSITIVE_INFINITY ? NEVER : encode(seconds, TIME_WIDTH)
}

function encode(value: number, width: number): string {
  let text = ''
  for (let rest = value; text.length < width; rest = Math.floor(rest / 32)) text = DIGITS[rest % 32] + text
  return text
}

/** The value of each digit, by its character code. */
const VALUES = Uint8Array.from({ length: 128 }, (_, code) =>
  Math.max(0, DIGITS.indexOf(String.fromCharCode(code))),
)

function decode(text: string): number {
  let value = 0
  for (let place = 0; place < text.length; place += 1)
    value = value * 32 + (VALUES[text.charCodeAt(place)] ?? 0)
  return value
}

/** Random bytes in store, each used once: asking for a few takes as long as asking for thousands. */
const random = Buffer.alloc(4096)
let unused = 0

function randomDigits(count: number): string {
  if (unused < count) unused = randomFillSync(random).length
  const digits = digitsFrom(random.subarray(unused - count, unused))
  // What is in a name is not to be found in memory a second time.
  random.fill(0, unused - count, unused)
  unused -= count
  return digits
}

/** A digit for each byte. 32 divides 256, so each digit is equally likely if each byte is. */
function digitsFrom(bytes: Uint8Array): string {
  let digits = ''
  for (const byte of bytes) digits += DIGITS[byte % 32]
  return digits
}
