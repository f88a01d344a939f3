import type { IncomingHttpHeaders } from 'node:http'
import { FORMATS } from './formats.ts'
import type { ImageName } from './name.ts'

/** How long a cache may keep an image that never expires, in seconds: a year, the longest that caches agree on. */
const LONGEST_AGE = 31_536_000

/** Bytes of an image, both ends included. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export interface ImageAnswer {
  readonly status: 200 | 206 | 304 | 412 | 416
  /** Everything but the connection's own headers; for 412 and 416 those that go with an error. */
  readonly headers: Readonly<Record<string, string>>
  /** What the body holds; none for 304, 412 and 416. */
  readonly range?: ByteRange
}

export interface ImageRequest {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  readonly name: ImageName
  /** Of the whole image, in bytes. */
  readonly size: number
  /** Unix milliseconds. */
  readonly now: number
}

/**
 * Decides how a GET or HEAD of a live image is answered (RFC 9110, sections 13.2.2 and 14.2).
 *
 * The answer depends on nothing but the image, the time, and the conditional and range headers.
 */
export function serve({ method, headers, name, size, now }: ImageRequest): ImageAnswer {
  const etag = `"${name.text}"`
  const modified = name.created
  if (failsPrecondition(headers, etag, modified)) return { status: 412, headers: {} }
  if (isUnchanged(headers, etag, modified)) return { status: 304, headers: validators(name, etag, now) }

  // Only GET has ranges (14.2): HEAD says what the whole would be.
  const wantsRange = headers.range !== undefined && method === 'GET' && rangeApplies(headers, etag, modified)
  const range = wantsRange ? parseRange(headers.range, size) : undefined
  if (range === 'unsatisfiable') return { status: 416, headers: { 'content-range': `bytes */${size}` } }
  const { start, end } = range ?? { start: 0, end: size - 1 }
  const answer = validators(name, etag, now)
  answer['content-type'] = FORMATS[name.format].mediaType
  answer['content-length'] = String(end - start + 1)
  answer['accept-ranges'] = 'bytes'
  if (range === undefined) return { status: 200, headers: answer, range: { start, end } }
  answer['content-range'] = `bytes ${start}-${end}/${size}`
  return { status: 206, headers: answer, range }
}

/** Written out rather than put together: it is made for every answer. Any page may show the image, and nothing in it can run: what is uploaded may be an image and a script at once. */
function validators(name: ImageName, etag: string, now: number): Record<string, string> {
  return {
    etag,
    'last-modified': new Date(name.created * 1000).toUTCString(),
    'cache-control': `public, max-age=${secondsLeft(name, now)}, immutable`,
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; sandbox",
    'cross-origin-resource-policy': 'cross-origin',
    'access-control-allow-origin': '*',
    'x-robots-tag': 'noindex',
  }
}

/**
 * What an image is stored with, for those who fetch it from where it is stored. It says at any time what `serve` would say, as far as a
 * stored object can: its end is a date, as a number of seconds would begin anew with each fetch.
 */
export function headersAtRest({ format, expires }: Pick<ImageName, 'format' | 'expires'>) {
  const contentType = FORMATS[format].mediaType
  return Number.isFinite(expires)
    ? { contentType, cacheControl: 'public, immutable', expires: new Date(expires * 1000) }
    : { contentType, cacheControl: `public, max-age=${LONGEST_AGE}, immutable` }
}

/** Rounded down, so that no cache keeps a copy past the expiry. */
function secondsLeft(name: ImageName, now: number): number {
  return Math.max(0, Math.min(LONGEST_AGE, Math.floor(name.expires - now / 1000)))
}

/** If-Match and, without it, If-Unmodified-Since (13.1.1, 13.1.4). */
function failsPrecondition(headers: IncomingHttpHeaders, etag: string, modified: number): boolean {
  const match = headers['if-match']
  if (match !== undefined) return !listsTag(match, etag)
  const since = seconds(headers['if-unmodified-since'])
  return since !== undefined && modified > since
}

/** If-None-Match, by weak comparison, and, without it, If-Modified-Since (13.1.2, 13.1.3). */
function isUnchanged(headers: IncomingHttpHeaders, etag: string, modified: number): boolean {
  const noneMatch = headers['if-none-match']
  if (noneMatch !== undefined) return listsWeakly(noneMatch, etag)
  const since = seconds(headers['if-modified-since'])
  return since !== undefined && modified <= since
}

/** If-Range: the validator must be the image's own, a date to the second (13.1.5). */
function rangeApplies(headers: IncomingHttpHeaders, etag: string, modified: number): boolean {
  const validator = headers['if-range']
  if (validator === undefined || Array.isArray(validator)) return validator === undefined
  return validator === etag || seconds(validator) === modified
}

/** Whether an If-None-Match names an entity tag, which has its quotes and is strong. */
export function listsWeakly(noneMatch: string, etag: string): boolean {
  return listsTag(noneMatch.replaceAll('W/', ''), etag)
}

function listsTag(list: string, etag: string): boolean {
  return list.trim() === '*' || list.split(',').some((tag) => tag.trim() === etag)
}

/** Unix seconds of an HTTP date in any of its three forms (5.6.7); what is none is ignored. */
function seconds(date: string | undefined): number | undefined {
  if (date === undefined) return undefined
  const isAsctime = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}$/.test(date)
  if (!isAsctime && !/^[A-Z][a-z]+, .* GMT$/.test(date)) return undefined
  const time = Date.parse(isAsctime ? `${date} GMT` : date)
  return Number.isNaN(time) ? undefined : time / 1000
}

/** A single range of bytes; a header in any other form, several ranges included, is ignored, as 14.2 allows. */
function parseRange(header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const [, first = '', last = ''] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? '') ?? []
  if (first === '' && last === '') return undefined
  if (first === '') {
    const length = Math.min(Number(last), size)
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size - 1 }
  }
  if (last !== '' && Number(last) < Number(first)) return undefined
  if (Number(first) >= size) return 'unsatisfiable'
  return { start: Number(first), end: last === '' ? size - 1 : Math.min(Number(last), size - 1) }
}
