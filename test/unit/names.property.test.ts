import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FORMATS, type Format } from '../../src/formats.ts'
import { imageId, imagePath, isExpired, isOwner, makeName, parseId, parseName } from '../../src/name.ts'

const secret = Buffer.alloc(32, 1)
const seed = 20_260_101

const time = fc.integer({ min: 0, max: 32 ** 7 - 2 })
const name = fc
  .record({
    created: time,
    expires: fc.oneof(time, fc.constant(Number.POSITIVE_INFINITY)),
    format: fc.constantFrom(...(Object.keys(FORMATS) as Format[])),
  })
  .map((facts) => makeName({ ...facts, keyId: 'a-key', secret }))

/** Text of all sorts, and text that comes near to a name. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 80 }),
  fc.string({
    unit: fc.constantFrom(...'0123456789abcdefghjkmnpqrstvwxyz._/\\%\0'),
    minLength: 50,
    maxLength: 65,
  }),
  fc.stringMatching(/^(file_)?[0-9a-z]{14}[jpgw][0-9a-z]{38}(\.(jpg|png|gif|webp))?$/),
)

test('text of any sort is a name or none, and nothing else', () => {
  const check = (text: string) => {
    const name = parseName(text)
    if (name === undefined) return
    expect(name.text).toBe(text)
    expect(parseId(imageId(name))).toEqual(name)
    expect(imagePath(name)).toMatch(/^\d{4}\/\d{2}\/[0-9a-z.]+$/)
    expect(isOwner(name, { keyId: 'a-key', secret })).toBe(false)
    expect(typeof isExpired(name, 0)).toBe('boolean')
  }
  fc.assert(fc.property(text, check), { numRuns: 5000, seed })
})

test('text of any sort is an id or none, and nothing else', () => {
  const check = (text: string) => {
    const found = parseId(text)
    if (found !== undefined) expect(imageId(found)).toBe(text)
  }
  fc.assert(
    fc.property(
      fc.oneof(
        text,
        text.map((text) => `file_${text}`),
      ),
      check,
    ),
    { numRuns: 5000, seed },
  )
})

test('text without end is refused in no time', () => {
  for (const text of ['0', 'z.', 'file_', '\0', '😀'].map((piece) => piece.repeat(1e6))) {
    const begun = performance.now()
    expect([parseName(text), parseId(text), parseId(`file_${text}`)]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
    expect(performance.now() - begun).toBeLessThan(500)
  }
})

test('any change makes another name or none, and never one of the same owner', () => {
  const character = fc.oneof(fc.string({ unit: 'binary', maxLength: 2 }), fc.constantFrom(...'0123jpgwz.'))
  const change = fc.record({ name, place: fc.nat(57), removed: fc.nat(2), put: character })
  const check = ({ name, place, removed, put }: typeof change extends fc.Arbitrary<infer T> ? T : never) => {
    const changed = name.text.slice(0, place) + put + name.text.slice(place + removed)
    fc.pre(changed !== name.text)
    const found = parseName(changed)
    if (found === undefined) return
    expect(found.text).toBe(changed)
    expect(isOwner(found, { keyId: 'a-key', secret })).toBe(false)
  }
  fc.assert(fc.property(change, check), { numRuns: 5000, seed })
})

test('an id says all that its name says', () => {
  fc.assert(
    fc.property(name, (name) => {
      expect(parseId(imageId(name))).toEqual(name)
    }),
    { seed },
  )
})

test('a list of names in their order is in the order of their expiry', () => {
  fc.assert(
    fc.property(fc.array(name, { minLength: 2, maxLength: 20 }), (names) => {
      const expiries = names
        .map(({ text }) => text)
        .sort()
        .map((text) => parseName(text)?.expires ?? Number.NaN)
      expect(expiries).toEqual(expiries.toSorted((one, other) => (one < other ? -1 : Number(one > other))))
    }),
    { seed },
  )
})
