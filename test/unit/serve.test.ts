import type { IncomingHttpHeaders } from 'node:http'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeName } from '../../src/name.ts'
import { headersAtRest, type ImageRequest, serve } from '../../src/serve.ts'

const SIZE = 1000
const created = Date.UTC(2026, 0, 2, 3, 4, 5) / 1000
const lifetime = 259_200
const never = Number.POSITIVE_INFINITY

const nameFor = (expires: number) =>
  makeName({ created, expires, format: 'png', keyId: 'k', secret: Buffer.alloc(32) })
const name = nameFor(created + lifetime)
const etag = `"${name.text}"`
const modified = 'Fri, 02 Jan 2026 03:04:05 GMT'
const before = 'Fri, 02 Jan 2026 03:04:04 GMT'
const after = 'Fri, 02 Jan 2026 03:04:06 GMT'

const ask = (headers: IncomingHttpHeaders = {}, more: Partial<ImageRequest> = {}) =>
  serve({ method: 'GET', headers, name, size: SIZE, now: created * 1000, ...more })

const maxAge = (expires: number, now: number) =>
  Number(/max-age=(-?\d+)/.exec(ask({}, { name: nameFor(expires), now }).headers['cache-control'] ?? '')?.[1])

const inert = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
  'cross-origin-resource-policy': 'cross-origin',
  'access-control-allow-origin': '*',
  'x-robots-tag': 'noindex',
}
const validators = {
  etag,
  'last-modified': modified,
  'cache-control': `public, max-age=${lifetime}, immutable`,
}

test('the whole image comes with exactly these headers', () => {
  expect(ask()).toStrictEqual({
    status: 200,
    headers: {
      'content-type': 'image/png',
      'content-length': '1000',
      'accept-ranges': 'bytes',
      ...validators,
      ...inert,
    },
    range: { start: 0, end: 999 },
  })
})

test.each(['jpeg', 'png', 'gif', 'webp'] as const)('%s has its own media type', (format) => {
  const answer = ask({}, { name: { ...name, format } })
  expect(answer.headers['content-type']).toBe(`image/${format}`)
})

describe('a range', () => {
  test.each([
    ['the first byte', 'bytes=0-0', 0, 0],
    ['the last byte', 'bytes=999-999', 999, 999],
    ['a piece', 'bytes=100-299', 100, 299],
    ['everything', 'bytes=0-', 0, 999],
    ['the rest', 'bytes=400-', 400, 999],
    ['the end', 'bytes=-10', 990, 999],
    ['an end longer than the image', 'bytes=-5000', 0, 999],
    ['what goes past the image', 'bytes=990-5000', 990, 999],
    ['what goes past all numbers', `bytes=990-${'9'.repeat(400)}`, 990, 999],
    ['a unit in other letters', 'Bytes=0-1', 0, 1],
  ])('%s', (_title, range, start, end) => {
    const answer = ask({ range })
    expect(answer).toMatchObject({ status: 206, range: { start, end } })
    expect(answer.headers).toMatchObject({
      'content-range': `bytes ${start}-${end}/1000`,
      'content-length': String(end - start + 1),
      'content-type': 'image/png',
      ...validators,
    })
  })

  test.each(['bytes=1000-', 'bytes=1000-1001', 'bytes=-0', `bytes=${'9'.repeat(400)}-`])(
    '%s lies outside the image',
    (range) => {
      expect(ask({ range })).toStrictEqual({ status: 416, headers: { 'content-range': 'bytes */1000' } })
    },
  )

  test.each([
    'bytes=0-1,3-4',
    'bytes=',
    'bytes=-',
    'bytes=5-4',
    'bytes=a-b',
    'bytes=0x0-1',
    'bytes=1.5-2',
    'bytes=--5',
    'bytes 0-1',
    'items=0-1',
    '0-1',
    '',
  ])('%s is ignored, and the whole image comes', (range) => {
    const { status, headers, range: bytes } = ask({ range })
    expect({ status, bytes }).toEqual({ status: 200, bytes: { start: 0, end: 999 } })
    expect(headers).not.toHaveProperty('content-range')
  })

  test('is for GET alone: HEAD says what the whole is', () => {
    expect(ask({ range: 'bytes=0-1' }, { method: 'HEAD' })).toEqual(ask())
    expect(ask({ range: 'bytes=1000-' }, { method: 'HEAD' }).status).toBe(200)
  })

  test('never has more bytes than the image, and as many as it says', () => {
    const number = fc.oneof(fc.nat(40), fc.bigInt({ min: 0n, max: 2n ** 70n }), fc.constant(''))
    fc.assert(
      fc.property(number, number, fc.integer({ min: 1, max: 40 }), (first, last, size) => {
        const answer = ask({ range: `bytes=${first}-${last}` }, { size })
        if (answer.status === 416) {
          expect(answer.range).toBeUndefined()
          return
        }
        const { start = -1, end = -1 } = answer.range ?? {}
        expect(start).toBeGreaterThanOrEqual(0)
        expect(end).toBeGreaterThanOrEqual(start)
        expect(end).toBeLessThan(size)
        expect(answer.headers['content-length']).toBe(String(end - start + 1))
        if (answer.status === 206)
          expect(answer.headers['content-range']).toBe(`bytes ${start}-${end}/${size}`)
        else expect({ start, end }).toEqual({ start: 0, end: size - 1 })
      }),
      { numRuns: 500 },
    )
  })
})

test.each([
  ['the entity tag', etag, 206],
  ['the entity tag as a weak one', `W/${etag}`, 200],
  ['another entity tag', '"other"', 200],
  ['the date', modified, 206],
  ['an earlier date', before, 200],
  ['a later date', after, 200],
  ['nonsense', 'yesterday', 200],
])('If-Range with %s', (_title, validator, status) => {
  expect(ask({ range: 'bytes=0-9', 'if-range': validator }).status).toBe(status)
})

const conditions: readonly [string, IncomingHttpHeaders, number][] = [
  ['If-None-Match with the tag', { 'if-none-match': etag }, 304],
  ['If-None-Match with *', { 'if-none-match': '*' }, 304],
  ['If-None-Match with the tag as a weak one', { 'if-none-match': `W/${etag}` }, 304],
  ['If-None-Match with the tag in a list', { 'if-none-match': `"a", W/"b" ,${etag}` }, 304],
  ['If-None-Match with other tags', { 'if-none-match': '"a", W/"b"' }, 200],
  ['If-None-Match with the tag unquoted', { 'if-none-match': name.text }, 200],
  ['If-Modified-Since the second it was made', { 'if-modified-since': modified }, 304],
  ['If-Modified-Since later', { 'if-modified-since': after }, 304],
  ['If-Modified-Since earlier', { 'if-modified-since': before }, 200],
  ['If-Modified-Since with no date', { 'if-modified-since': '2026-01-03' }, 200],
  ['another tag, though the date would do', { 'if-none-match': '"a"', 'if-modified-since': after }, 200],
  ['the tag, though the date would not do', { 'if-none-match': etag, 'if-modified-since': before }, 304],
  ['the tag, though a range is asked for', { 'if-none-match': etag, range: 'bytes=0-1' }, 304],
  ['If-Match with the tag', { 'if-match': etag }, 200],
  ['If-Match with *', { 'if-match': '*' }, 200],
  ['If-Match with the tag in a list', { 'if-match': `"a", ${etag}` }, 200],
  ['If-Match with the tag as a weak one', { 'if-match': `W/${etag}` }, 412],
  ['If-Match with another tag', { 'if-match': '"a"' }, 412],
  ['If-Unmodified-Since the second it was made', { 'if-unmodified-since': modified }, 200],
  ['If-Unmodified-Since earlier', { 'if-unmodified-since': before }, 412],
  [
    'If-Match with the tag, though the date would fail',
    { 'if-match': etag, 'if-unmodified-since': before },
    200,
  ],
  ['If-Match that fails, though If-None-Match holds', { 'if-match': '"a"', 'if-none-match': etag }, 412],
]

test.each(conditions)('%s', (_title, headers, status) => {
  const answer = ask(headers)
  expect(answer.status).toBe(status)
  // HEAD decides alike.
  expect(ask(headers, { method: 'HEAD' }).status).toBe(status)
  if (status === 412) expect(answer).toStrictEqual({ status, headers: {} })
})

test('an unchanged image is told by its validators alone', () => {
  expect(ask({ 'if-none-match': etag })).toStrictEqual({ status: 304, headers: { ...validators, ...inert } })
})

describe('max-age', () => {
  test('counts down to the second of expiry', () => {
    const expires = created + 100
    const ages = [0, 1, 999, 1000, 1001, 98_999, 99_000, 99_001, 99_999].map((passed) =>
      maxAge(expires, created * 1000 + passed),
    )
    expect(ages).toEqual([100, 99, 99, 99, 98, 1, 1, 0, 0])
  })

  test('is a year at the most, also for an image that is kept', () => {
    expect(maxAge(never, created * 1000)).toBe(31_536_000)
    expect(maxAge(created + 40_000_000, created * 1000)).toBe(31_536_000)
  })

  test('never exceeds what is left, by less than a second', () => {
    // In eighths of a millisecond, which doubles can tell apart at today's times.
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 31_000_000 }), fc.nat(8 * 10 ** 9), (left, eighths) => {
        const now = created * 1000 + Math.min(eighths / 8, left * 1000)
        const remaining = (created + left) * 1000 - now
        const kept = maxAge(created + left, now) * 1000
        expect(kept).toBeLessThanOrEqual(remaining)
        expect(kept).toBeGreaterThan(remaining - 1000)
      }),
      { numRuns: 1000 },
    )
  })

  test('is not negative when the image expires while its store is being asked', () => {
    expect(maxAge(created + 100, (created + 101) * 1000)).toBe(0)
  })
})

test('at rest, an image says when it ends rather than how long it lasts, as each fetch would begin anew', () => {
  expect(headersAtRest(name)).toEqual({
    contentType: 'image/png',
    cacheControl: 'public, immutable',
    expires: new Date((created + lifetime) * 1000),
  })
  expect(headersAtRest(nameFor(never))).toEqual({
    contentType: 'image/png',
    cacheControl: 'public, max-age=31536000, immutable',
  })
})
