import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Problem } from '../../src/errors.ts'
import { FORMATS, type Format, HeaderReader, InvalidImage, sniff } from '../../src/formats.ts'
import { stage } from '../../src/stage.ts'
import { type Size, sizeByRule } from '../support/header-rule.ts'
import { fixture, tinyPng } from '../support/images.ts'
import { type TempFolder, tempSpool } from '../support/temp-folder.ts'

const SEED = 20_260_101
const MAX_PIXELS = 1e8
/** No parser of a header may ask for more at once: as much as it asks for is held. */
const MOST_HELD = 256

let temp: Awaited<ReturnType<typeof tempSpool>>
beforeAll(async () => {
  temp = await tempSpool()
})
afterAll(() => (temp as TempFolder)[Symbol.asyncDispose]())

/** Whole images, small; and the starts of larger ones. */
const images = [
  tinyPng,
  ...['animated.png', 'animated.gif', 'progressive.jpg', 'lossless.webp', 'animated.webp'].map(fixture),
  ...['photo.jpg', 'photo.png', 'photo.gif', 'photo.webp'].map((name) => fixture(name).subarray(0, 8192)),
].map((bytes) => bytes.subarray(0, 16_384))

/** Numbers that decisions hang on, as they stand in headers. */
const extremes = [
  ...['00', 'ff', '7f', '80', '21', '2c', '3b', 'ffda', 'ffc0', 'ffd9', '0000', '0001', 'ffff', '00000000'],
  ...[
    '7fffffff',
    '80000000',
    'ffffffff',
    'fffffff0',
    '49444154',
    '49454e44',
    '56503820',
    '56503858',
    '414e4d46',
  ],
].map((hex) => Buffer.from(hex, 'hex'))

/** Most places fall into the headers, where the decisions are. */
const place = fc.double({ min: 0, max: 1, noNaN: true }).map((place) => place ** 4)
const piece = fc.oneof(fc.constantFrom(...extremes), fc.uint8Array({ minLength: 1, maxLength: 8 }))

type Edit = (bytes: Buffer) => Buffer
const at = (bytes: Buffer, place: number) => Math.floor(place * bytes.length)

const overwrite = fc.tuple(place, piece).map(
  ([place, piece]): Edit =>
    (bytes) => {
      const copy = Buffer.from(bytes)
      copy.set(piece.subarray(0, copy.length - at(copy, place)), at(copy, place))
      return copy
    },
)
const insert = fc.tuple(place, piece, fc.constantFrom(1, 3, 2000)).map(
  ([place, piece, times]): Edit =>
    (bytes) => {
      const more = Array<Uint8Array>(times).fill(piece)
      return Buffer.concat([bytes.subarray(0, at(bytes, place)), ...more, bytes.subarray(at(bytes, place))])
    },
)
const remove = fc.tuple(place, fc.integer({ min: 1, max: 40 })).map(
  ([place, length]): Edit =>
    (bytes) =>
      Buffer.concat([bytes.subarray(0, at(bytes, place)), bytes.subarray(at(bytes, place) + length)]),
)
const cut = place.map(
  (place): Edit =>
    (bytes) =>
      bytes.subarray(0, at(bytes, place)),
)
const graft = fc.tuple(place, fc.constantFrom(...images), place).map(
  ([place, other, from]): Edit =>
    (bytes) =>
      Buffer.concat([bytes.subarray(0, at(bytes, place)), other.subarray(at(other, from))]),
)

const edits = fc.array(fc.oneof({ arbitrary: overwrite, weight: 6 }, insert, remove, cut, graft), {
  minLength: 1,
  maxLength: 4,
})
const damaged = fc
  .tuple(fc.constantFrom(...images), edits)
  .map(([image, edits]) => edits.reduce((bytes, edit) => edit(bytes), image))

const chunkSizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 20_000 })), {
  minLength: 1,
  maxLength: 4,
})

function* chunksOf(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let start = 0, turn = 0; start < bytes.length; turn += 1) {
    const end = start + (sizes[turn % sizes.length] ?? 1)
    yield bytes.subarray(start, end)
    start = end
  }
}

/** A parser that may not ask for more than is bearable, nor for nothing. */
function* watched(format: Format) {
  const parser = FORMATS[format].header()
  for (let step = parser.next(); ; ) {
    if (step.done) return step.value
    if (step.value > MOST_HELD || step.value === 0) throw new RangeError(`it asks for ${step.value} bytes`)
    step = parser.next(yield step.value)
  }
}

function sizeByReader(format: Format, bytes: Buffer, sizes: readonly number[]): Size | undefined {
  const reader = new HeaderReader(watched(format))
  try {
    for (const chunk of chunksOf(bytes, sizes)) reader.push(chunk)
    const { width, height, animated } = reader.end()
    expect(typeof animated).toBe('boolean')
    return { width, height }
  } catch (error) {
    if (error instanceof InvalidImage) return undefined
    throw error
  }
}

/** The status of an upload of these bytes: what is taken has the right size, and is as it came. */
async function statusOf(bytes: Buffer, sizes: readonly number[] = [4096]): Promise<number> {
  const body = (async function* () {
    yield* chunksOf(bytes, sizes)
  })()
  try {
    await using staged = await stage(body, { spool: temp.spool, maxFileSize: 1e6, maxPixels: MAX_PIXELS })
    expect(staged.header).toMatchObject(sizeByRule(staged.format, bytes) ?? expect.unreachable())
    expect(staged.format).toBe(sniff(bytes))
    expect((await buffer(staged.open())).equals(bytes)).toBe(true)
    return 200
  } catch (error) {
    if (error instanceof Problem) return error.status
    throw error
  }
}

/** What may be answered by the rule. Whether too little is damaged or no image at all is not for the rule to say. */
function statusByRule(bytes: Buffer): number[] {
  const format = sniff(bytes)
  if (format === undefined) return [400, 415]
  const { width, height } = sizeByRule(format, bytes) ?? { width: 0, height: 0 }
  return width > 0 && height > 0 && width * height <= MAX_PIXELS ? [200] : [415, 422]
}

test('however an image is damaged and cut into chunks, its header is read by the rule, and little of it held', () => {
  const outcomes = { invalid: 0, header: 0 }
  fc.assert(
    fc.property(damaged, chunkSizes, (bytes, sizes) => {
      const format = sniff(bytes)
      fc.pre(format !== undefined)
      const size = sizeByReader(format, bytes, sizes)
      expect(size).toEqual(sizeByRule(format, bytes))
      outcomes[size === undefined ? 'invalid' : 'header'] += 1
    }),
    { numRuns: 10_000, seed: SEED },
  )
  // Else the damage was too small or too great to say anything.
  expect(Math.min(outcomes.invalid, outcomes.header)).toBeGreaterThan(2000)
})

test('a damaged image is taken or refused as its sender’s fault, by the rule, and nothing is left', async () => {
  const byStatus = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(damaged, chunkSizes, async (bytes, sizes) => {
      const status = await statusOf(bytes, sizes)
      expect(statusByRule(bytes)).toContain(status)
      byStatus.set(status, (byStatus.get(status) ?? 0) + 1)
    }),
    { numRuns: 10_000, seed: SEED + 1 },
  )
  for (const status of [200, 415, 422]) expect(byStatus.get(status), `${status}`).toBeGreaterThan(200)
  expect(await temp.names()).toEqual([])
})

test('an image that is cut off at any byte is taken or refused by the rule', async () => {
  for (const image of images)
    for (let length = 0; length <= Math.min(image.length, 3000); length += 1) {
      const bytes = image.subarray(0, length)
      expect(statusByRule(bytes), `${length} bytes`).toContain(await statusOf(bytes))
    }
})

/** A header's start, and then the same piece over and over. */
const endless = (start: string, piece: string, size = 4e6) =>
  Buffer.concat([Buffer.from(start, 'hex'), Buffer.alloc(size, Buffer.from(piece, 'hex'))])

const GIF = '47494638396101000100000000'
const WEBP = '52494646ffffff0f57454250565038580a00000000000000630000630000'

test.each<[string, Format, Buffer]>([
  ['a JPEG of fill bytes', 'jpeg', endless('ffd8', 'ff')],
  ['a JPEG of empty segments', 'jpeg', endless('ffd8', 'ffe10002')],
  ['a PNG of empty chunks', 'png', endless(tinyPng.toString('hex', 0, 33), '000000007445587400000000')],
  ['a GIF of empty extensions', 'gif', endless(GIF, '21fe00')],
  ['a GIF of small blocks', 'gif', endless(`${GIF}21fe`, '01')],
  ['a WebP of empty chunks', 'webp', endless(WEBP, '4558494600000000')],
])('%s is given up before it costs much', (_title, format, bytes) => {
  for (const size of [65_536, 1000]) {
    const begun = performance.now()
    const reader = new HeaderReader(FORMATS[format].header())
    expect(() => {
      for (const chunk of chunksOf(bytes, [size])) reader.push(chunk)
    }).toThrow(/too many pieces/)
    // A hundredth of that would do, on a machine with nothing else to do.
    expect(performance.now() - begun).toBeLessThan(2000)
  }
})

test('a GIF may be as large as it likes, as its blocks are at most 255 bytes long', () => {
  const blocks = endless(
    `${GIF}2c00000000010001000002`,
    `ff${'00'.repeat(255)}`,
    20_000_000 - (20_000_000 % 256),
  )
  const whole = Buffer.concat([blocks, Buffer.from('002c00000000010001000002003b', 'hex')])
  const reader = new HeaderReader(FORMATS.gif.header())
  for (const chunk of chunksOf(whole, [65_536])) reader.push(chunk)
  expect(reader.end()).toEqual({ width: 1, height: 1, animated: true })
})
