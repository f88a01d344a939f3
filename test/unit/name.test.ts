import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FORMATS, type Format } from '../../src/formats.ts'
import {
  firstLiveKey,
  imageId,
  imagePath,
  isAnnounced,
  isExpired,
  isOwner,
  makeName,
  type NameFacts,
  parseName,
} from '../../src/name.ts'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const secret = Buffer.alloc(32, 1)
const keyId = 'a-key'

const make = (facts: Partial<NameFacts> = {}) =>
  makeName({ created: 1_700_000_000, expires: 1_700_259_200, format: 'png', keyId, secret, ...facts })

/** The last second that a name can say: what follows it stands for never. */
const LAST = 32 ** 7 - 2
const anyTime = fc.integer({ min: 0, max: LAST })
const anyExpiry = fc.oneof(anyTime, fc.constant(Number.POSITIVE_INFINITY))
const anyFormat = fc.constantFrom(...(Object.keys(FORMATS) as Format[]))

/** `text` with the character at `index` replaced. */
const withCharacter = (text: string, index: number, character: string) =>
  text.slice(0, index) + character + text.slice(index + 1)

describe('a made name', () => {
  test('has 53 characters of the alphabet and the extension of its format', () => {
    const extensions = { jpeg: 'jpg', png: 'png', gif: 'gif', webp: 'webp' }
    for (const [format, extension] of Object.entries(extensions)) {
      const [id, ...rest] = make({ format: format as Format }).text.split('.')
      expect(id).toMatch(new RegExp(`^[${ALPHABET}]{53}$`))
      expect(rest).toEqual([extension])
    }
  })

  test('holds both times and the format in the open, then 26 random digits, then the owner mark', () => {
    const { text } = make({ created: 32, expires: 1, format: 'webp' })
    expect(text.slice(0, 15)).toBe('00000010000010w')
    const digitsAt = Array.from({ length: 26 }, () => new Set<string>())
    for (let round = 0; round < 1000; round += 1) {
      const random = make().text.slice(15, 41)
      digitsAt.forEach((seen, index) => {
        seen.add(random.charAt(index))
      })
    }
    // 1000 draws miss one of 32 digits at one of 26 places once in 10^10.
    expect(digitsAt.map((seen) => seen.size)).toEqual(Array(26).fill(32))
  })

  test('is never made twice', () => {
    const names = new Set(Array.from({ length: 10_000 }, () => make().text))
    expect(names.size).toBe(10_000)
  })

  test('says, when it is parsed, what it was made from', () => {
    fc.assert(
      fc.property(anyTime, anyExpiry, anyFormat, fc.boolean(), (created, expires, format, presigned) => {
        const name = make({ created, expires, format, presigned })
        expect(name).toEqual({ text: name.text, created, expires, format, presigned })
        expect(parseName(name.text)).toEqual(name)
      }),
    )
  })

  test('sorts by expiry, and those that never expire come last', () => {
    fc.assert(
      fc.property(anyExpiry, anyExpiry, anyTime, anyTime, (one, other, createdOne, createdOther) => {
        fc.pre(one !== other)
        const first = make({ expires: one, created: createdOne }).text
        const second = make({ expires: other, created: createdOther }).text
        expect(first < second).toBe(one < other)
      }),
    )
  })

  test('is also its id in the API, without the extension', () => {
    const name = make()
    expect(imageId(name)).toBe(`file_${name.text.slice(0, 53)}`)
  })
})

test('a name that was given out before its image was there cannot be made up', () => {
  const name = make({ presigned: true })
  expect(isAnnounced(name, secret)).toBe(true)
  expect(isAnnounced(name, Buffer.alloc(32, 9))).toBe(false)
  expect(isAnnounced(make(), secret)).toBe(false)
  // All but the owner's mark, which is for its key to check.
  for (let i = 0; i < 41; i += 1) {
    const changed = parseName(withCharacter(name.text, i, name.text[i] === '0' ? '1' : '0'))
    expect(changed !== undefined && isAnnounced(changed, secret), String(i)).toBe(false)
  }
})

describe('what is no name', () => {
  const { text } = make()

  test('any character outside the alphabet, wherever it stands', () => {
    const printable = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code))
    const foreign = [...printable, 'é', '０', 'ａ', '\u2028', '\ufeff'].filter((c) => !ALPHABET.includes(c))
    const accepted = foreign.flatMap((character) =>
      Array.from({ length: 53 }, (_, index) => withCharacter(text, index, character)).filter(parseName),
    )
    expect(accepted).toEqual([])
  })

  test('an extension that is not the one of the format letter', () => {
    const id = text.slice(0, 53)
    for (const extension of ['jpg', 'jpeg', 'gif', 'webp', 'svg', 'html', 'pn', 'pngg', 'PNG', ''])
      expect(parseName(`${id}.${extension}`), extension).toBeUndefined()
    for (const letter of 'jkghwx0') expect(parseName(withCharacter(text, 14, letter)), letter).toBeUndefined()
  })

  test.each([
    ['nothing', ''],
    ['the extension alone', '.png'],
    ['an extension that is a property of every object', `${text.slice(0, 53)}.constructor`],
    ['one in upper case', text.toUpperCase()],
    ['one that is a character short', text.slice(1)],
    ['one that is a character long', `0${text}`],
    ['one without an extension', text.slice(0, 53)],
    ['one with two extensions', `${text}.png`],
    ['one in a folder', `2026/01/${text}`],
    ['one in the folder above', `../${text}`],
    ['one that climbs in its middle', `../${text.slice(3)}`],
    ['one after a backslash', `..\\${text.slice(3)}`],
    ['one after a NUL', `\0${text}`],
    ['one before a NUL', `${text}\0`],
    ['one before a line end', `${text}\n`],
    ['one after a space', ` ${text}`],
    ['one that is percent-encoded', `%30${text.slice(1)}`],
    ['one with a query', `${text}?x`],
  ])('%s', (_title, candidate) => {
    expect(parseName(candidate)).toBeUndefined()
  })
})

describe('the owner', () => {
  const name = make()

  test('is the key that made the name, also when the name comes from a URL', () => {
    expect(isOwner(name, { keyId, secret })).toBe(true)
    const parsed = parseName(name.text)
    expect(parsed && isOwner(parsed, { keyId, secret })).toBe(true)
  })

  test('is no other key, and no key under another secret', () => {
    for (const other of ['another-key', 'A-key', 'a-ke', 'a-keyy', ''])
      expect(isOwner(name, { keyId: other, secret }), other).toBe(false)
    expect(isOwner(name, { keyId, secret: Buffer.alloc(32, 2) })).toBe(false)
  })

  test('is nobody once any character of the name has changed', () => {
    const owned: string[] = []
    for (let index = 0; index < 53; index += 1) {
      const digit = ALPHABET[(ALPHABET.indexOf(name.text.charAt(index)) + 1) % 32] ?? ''
      const text = withCharacter(name.text, index, digit)
      if (isOwner({ ...name, text }, { keyId, secret })) owned.push(text)
    }
    expect(owned).toEqual([])
  })

  test('leaves no mark that is the same on two of its images', () => {
    const marks = new Set(Array.from({ length: 100 }, () => make().text.slice(41, 53)))
    expect(marks.size).toBe(100)
  })

  test('is marked with 12 digits, of which each can be any: 60 bits', () => {
    const marks = Array.from({ length: 2000 }, () => make().text.slice(41, -'.png'.length))
    for (const mark of marks) expect(mark).toHaveLength(12)
    for (let place = 0; place < 12; place += 1)
      expect(new Set(marks.map((mark) => mark[place])).size, String(place)).toBe(32)
  })
})

describe('expiry', () => {
  const expires = 1_700_259_200

  test('comes at the very second', () => {
    const name = make({ expires })
    expect(isExpired(name, expires * 1000 - 1)).toBe(false)
    expect(isExpired(name, expires * 1000)).toBe(true)
    expect(isExpired(name, expires * 1000 + 1000)).toBe(true)
  })

  test('never comes for an image that is kept', () => {
    expect(isExpired(make({ expires: Number.POSITIVE_INFINITY }), Number.MAX_SAFE_INTEGER)).toBe(false)
  })

  test('has come for all names below the first live key, and for no other', () => {
    const now = expires * 1000
    expect(make({ expires }).text < firstLiveKey(now)).toBe(true)
    expect(make({ expires: expires + 1 }).text < firstLiveKey(now)).toBe(false)
    fc.assert(
      fc.property(anyExpiry, fc.integer({ min: -2000, max: 2000 }), anyTime, (expires, offset, other) => {
        const about = Number.isFinite(expires) ? expires : other
        const now = Math.min(Math.max(0, about * 1000 + offset), LAST * 1000 - 1)
        const name = make({ expires })
        expect(name.text < firstLiveKey(now)).toBe(isExpired(name, now))
      }),
    )
  })
})

test.each([
  ['2025-12-31T23:59:59Z', '2025/12'],
  ['2026-01-01T00:00:00Z', '2026/01'],
  ['2026-01-31T23:59:59Z', '2026/01'],
  ['2026-02-01T00:00:00Z', '2026/02'],
  ['2024-02-29T23:59:59Z', '2024/02'],
])('an image made at %s stands under %s, wherever the server is', (made, month) => {
  const zone = process.env.TZ
  for (const TZ of ['UTC', 'Pacific/Kiritimati', 'America/Los_Angeles']) {
    process.env.TZ = TZ
    const name = make({ created: Date.parse(made) / 1000 })
    expect(imagePath(name), TZ).toBe(`${month}/${name.text}`)
  }
  if (zone === undefined) delete process.env.TZ
  else process.env.TZ = zone
})
