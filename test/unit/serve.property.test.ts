import fc from 'fast-check'
import { expect, test } from 'vitest'
import { makeName } from '../../src/name.ts'
import { type ImageAnswer, type ImageRequest, serve } from '../../src/serve.ts'

const created = Date.UTC(2026, 0, 2, 3, 4, 5) / 1000
const name = makeName({
  created,
  expires: created + 3600,
  format: 'gif',
  keyId: 'k',
  secret: Buffer.alloc(32),
})
const seed = 20_260_101

const CONDITIONAL = [
  'range',
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
]

/** Pieces that the headers are made of, right and wrong. */
const pieces = [
  ...[
    'bytes=',
    'bytes',
    'Bytes=',
    '0',
    '1',
    '9',
    '-',
    ',',
    ' ',
    '\t',
    '*',
    '"',
    'W/',
    `"${name.text}"`,
    name.text,
  ],
  ...[
    'Fri, 02 Jan 2026 03:04:05 GMT',
    'Fri Jan  2 03:04:05 2026',
    'Friday, 02-Jan-26 03:04:05 GMT',
    'GMT',
    'Fri, ',
  ],
  ...['99999999999999999999', '-0', '+1', '0x1', '1e3', 'NaN', 'Infinity', '\u00a0', '\0', 'é'],
]
const text = fc.oneof(
  fc.array(fc.constantFrom(...pieces), { maxLength: 6 }).map((pieces) => pieces.join('')),
  fc.tuple(fc.nat(3000), fc.nat(3000)).map(([first, last]) => `bytes=${first}-${last}`),
  fc.string({ unit: 'binary', maxLength: 40 }),
)
const headers = fc.dictionary(fc.constantFrom(...CONDITIONAL), text)
const request = fc.record({
  method: fc.constantFrom('GET', 'HEAD'),
  headers,
  size: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.constant(2 ** 40)),
  now: fc.integer({ min: (created - 10) * 1000, max: (created + 4000) * 1000 }),
})

function expectSound({ method, headers, size }: Omit<ImageRequest, 'name'>, answer: ImageAnswer) {
  const { status, range } = answer
  for (const value of Object.values(answer.headers)) expect(value).toMatch(/^[ -~]+$/)
  if (status === 304) expect(headers['if-none-match'] ?? headers['if-modified-since']).toBeDefined()
  if (status === 412) expect(headers['if-match'] ?? headers['if-unmodified-since']).toBeDefined()
  if (status === 416) expect(answer.headers).toEqual({ 'content-range': `bytes */${size}` })
  if (status === 416 || status === 206)
    expect([method, headers.range]).toEqual(['GET', expect.stringMatching(/^bytes=/i)])
  if (status !== 200 && status !== 206) return expect(range).toBeUndefined()

  const { start = -1, end = -1 } = range ?? {}
  expect(start >= 0 && start <= end && end < size, `${start}-${end} of ${size}`).toBe(true)
  expect(answer.headers['content-length']).toBe(String(end - start + 1))
  expect(answer.headers['content-range']).toBe(status === 206 ? `bytes ${start}-${end}/${size}` : undefined)
  if (status === 200) expect({ start, end }).toEqual({ start: 0, end: size - 1 })
}

test('whatever the headers of a request say, its answer is one that they can get, and never more than the image', () => {
  const seen = new Set<number>()
  fc.assert(
    fc.property(request, (request) => {
      const answer = serve({ ...request, name })
      seen.add(answer.status)
      expectSound(request, answer)
    }),
    { numRuns: 10_000, seed },
  )
  expect([...seen].sort()).toEqual([200, 206, 304, 412, 416])
})

test('a header as long as any can be is read in no time', () => {
  const endless = [
    ' ',
    '\t',
    ',',
    '"',
    'W/',
    '0',
    '-',
    'bytes=',
    'A',
    'Aa',
    'Fri, ',
    'GMT ',
    '0-0,',
    `"${name.text}",`,
  ]
  for (const header of CONDITIONAL)
    for (const piece of endless)
      for (const start of ['', 'bytes=', 'A', 'Fri, ']) {
        const value = start + piece.repeat(16_000 / piece.length)
        const begun = performance.now()
        const request = {
          method: 'GET',
          headers: { range: 'bytes=0-1', [header]: value },
          size: 1000,
          now: created * 1000,
        }
        expectSound(request, serve({ ...request, name }))
        expect(performance.now() - begun, `${header}: ${start}${piece}…`).toBeLessThan(500)
      }
})
