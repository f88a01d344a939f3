import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Format } from '../../src/formats.ts'
import {
  compatibilityOf,
  explainCompatibility,
  type ImageFacts,
  reasonsAgainst,
  targetOf,
} from '../../src/vision/compatibility.ts'
import { APIS, apiOf, DATED, type Limits } from '../../src/vision/limits.ts'

const FORMATS: readonly Format[] = ['jpeg', 'png', 'gif', 'webp']
const photo: ImageFacts = { bytes: 200_000, format: 'jpeg', width: 1024, height: 768, animated: false }

describe('the table of limits', () => {
  test.each(APIS)('says of $id what it takes, who says so and since when', (api) => {
    expect(api.id).toMatch(/^[a-z][a-z-]*[a-z]$/)
    expect(api.name).toMatch(/\S/)
    expect(new URL(api.source).protocol).toBe('https:')
    expect(api.date).toMatch(/^20\d\d-(0[1-9]|1[0-2])$/)
    expect(api.date <= DATED).toBe(true)
    expect(['documented', 'measured', 'third-party']).toContain(api.basis)
    expect(api.formats.length).toBeGreaterThan(0)
    expect(api.formats.filter((format) => !FORMATS.includes(format))).toEqual([])
    const { bytes, minSide = 1, maxSide = 1e6, maxPixels = 1e9, ratio = [0.001, 1000] } = api
    for (const number of [bytes, minSide, maxSide, maxPixels])
      expect(Number.isSafeInteger(number) && Number(number) > 0).toBe(true)
    expect([minSide < maxSide, ratio[0] < ratio[1]]).toEqual([true, true])
    const known = ['id', 'name', 'bytes', 'minSide', 'maxSide', 'maxPixels', 'ratio', 'formats', 'animated']
    const extra = ['basis', 'source', 'date', 'note']
    expect(Object.keys(api).filter((key) => ![...known, ...extra].includes(key))).toEqual([])
  })

  test('names each API once, and none as a number, which is a side', () => {
    expect(new Set(APIS.map(({ id }) => id)).size).toBe(APIS.length)
    expect(apiOf('openai')?.name).toBe('OpenAI')
    expect(apiOf('toString')).toBeUndefined()
  })

  test('has a picture that all take', () => {
    expect(Object.values(compatibilityOf(photo)).every((accepted) => accepted)).toBe(true)
  })
})

describe('an image is refused for', () => {
  const of = (id: string, facts: Partial<ImageFacts>) =>
    reasonsAgainst(apiOf(id) as Limits, { ...photo, ...facts })

  test.each([
    ['anthropic', { bytes: 10_485_761 }, 'bytes', 'It has 10,485,761 bytes; at most 10,485,760 are taken.'],
    ['anthropic', { width: 8001 }, 'sides', 'Its longer side has 8,001 pixels; at most 8,000 are taken.'],
    [
      'kling',
      { height: 299, width: 400 },
      'sides',
      'Its shorter side has 299 pixels; at least 300 are needed.',
    ],
    [
      'groq',
      { width: 33_177_601, height: 1 },
      'pixels',
      'It has 33,177,601 pixels; at most 33,177,600 are taken.',
    ],
    [
      'runway',
      { width: 2001, height: 1000 },
      'ratio',
      'Its width is 2.001 times its height; between 0.5 and 2 is taken.',
    ],
    ['gemini', { format: 'gif' }, 'format', 'It is image/gif; taken are image/jpeg, image/png, image/webp.'],
    ['openai', { format: 'gif', animated: true }, 'animation', 'It is animated; only stills are taken.'],
  ] as const)('%s: %j', (api, facts, code, message) => {
    expect(of(api, facts).map(({ code, message }) => ({ code, message }))).toEqual([{ code, message }])
  })

  test('nothing at exactly a limit', () => {
    expect(of('anthropic', { bytes: 10_485_760, width: 8000, height: 8000 })).toEqual([])
    expect(of('kling', { width: 750, height: 300 })).toEqual([])
    expect(of('runway', { width: 2000, height: 1000 })).toEqual([])
  })

  test('all that is wrong with it at once', () => {
    const wrong = of('kling', { format: 'gif', bytes: 2e7, width: 100, height: 900 })
    expect(wrong.map(({ code }) => code)).toEqual(['bytes', 'sides', 'ratio', 'format'])
  })

  test('no animation if it is a PNG, which is a still to whoever knows no better', () => {
    expect(of('openai', { format: 'png', animated: true })).toEqual([])
  })
})

const images = fc.record({
  bytes: fc.integer({ min: 1, max: 200_000_000 }),
  format: fc.constantFrom(...FORMATS),
  width: fc.integer({ min: 1, max: 70_000 }),
  height: fc.integer({ min: 1, max: 70_000 }),
  animated: fc.boolean(),
})
const limits: fc.Arbitrary<Limits> = fc.oneof(
  fc.constantFrom(...APIS),
  fc.integer({ min: 16, max: 16_384 }).map((maxSide) => ({ maxSide, formats: FORMATS, animated: true })),
)

describe('what would fit', () => {
  test('is taken, and is the same picture, no larger', () => {
    fc.assert(
      fc.property(limits, images, (limits, image) => {
        const target = targetOf(limits, image)
        if (target === undefined) return
        const { width, height, formats, animated, bytes = image.bytes } = target
        for (const format of formats)
          expect(reasonsAgainst(limits, { width, height, format, animated, bytes })).toEqual([])
        expect(width <= image.width && height <= image.height).toBe(true)
        // As near to the same ratio as whole pixels allow.
        const [longer, shorter] = [Math.max(width, height), Math.min(width, height)]
        const exact = (longer * Math.min(image.width, image.height)) / Math.max(image.width, image.height)
        expect(Math.abs(shorter - Math.max(1, exact))).toBeLessThanOrEqual(0.5)
      }),
      { numRuns: 2000 },
    )
  })

  test('is the image’s own size where that is taken', () => {
    fc.assert(
      fc.property(limits, images, (limits, image) => {
        if (reasonsAgainst(limits, image).length > 0) return
        expect(targetOf(limits, image)).toMatchObject({ width: image.width, height: image.height })
      }),
      { numRuns: 2000 },
    )
  })

  test('is nothing for a picture that is too small or too long', () => {
    const kling = apiOf('kling') as Limits
    expect(targetOf(kling, { ...photo, width: 299 })).toBeUndefined()
    expect(targetOf(kling, { ...photo, width: 2600, height: 1000 })).toBeUndefined()
  })

  test('is said for each API that refuses the image', () => {
    const { apis } = explainCompatibility({
      ...photo,
      format: 'gif',
      animated: true,
      width: 9000,
      height: 6000,
    })
    expect(apis.find(({ api }) => api === 'anthropic')).toMatchObject({
      accepted: false,
      reasons: [{ code: 'sides', actual: 9000, limit: 8000 }],
      would_fit: { width: 8000, height: 5333, animated: true, max_bytes: 10_485_760 },
    })
    const grok = apis.find(({ api }) => api === 'xai')
    expect(grok?.would_fit).toMatchObject({ mime_types: ['image/jpeg', 'image/png'], animated: false })
    const fine = apis.find(({ api }) => api === 'deepseek')
    expect(fine).toMatchObject({ accepted: true, reasons: [], would_fit: null })
  })
})
