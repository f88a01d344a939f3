import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { fileTypeFromBuffer } from 'file-type'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Problem } from '../../src/errors.ts'
import { FORMATS, type Format, type Header, HeaderReader, InvalidImage, sniff } from '../../src/formats.ts'
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

/**
 * Where the parser of an image's format looks at its bytes, rather than skip them; of a run that it
 * scans, at the start and the end.
 */
function lookedAt(image: Buffer): number[] {
  const parser = FORMATS[sniff(image) ?? expect.unreachable()].header()
  const found: number[] = []
  let step = parser.next(Buffer.of())
  for (let at = 0; !step.done && at < image.length && found.length < 400; ) {
    const { value } = step
    const from = at
    if (typeof value === 'function') {
      at = value(image, from)
      found.push(from, at)
    } else {
      at += Math.abs(value)
      for (let index = from; value > 0 && index < at; index += 1) found.push(index)
    }
    step = parser.next(image.subarray(from, typeof value === 'number' && value > 0 ? at : from + 1))
  }
  return found
}

const looks = new Map(images.map((image) => [image, lookedAt(image)]))

/** Most places fall where the decisions are. */
type Place = (bytes: Buffer, image: Buffer) => number
const place = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }).map(
    (part): Place =>
      (bytes) =>
        Math.floor(part ** 4 * bytes.length),
  ),
  fc.nat(399).map(
    (nth): Place =>
      (bytes, image) => {
        const found = looks.get(image) ?? []
        return Math.min(bytes.length, found[nth % found.length] ?? 0)
      },
  ),
)
const piece = fc.oneof(fc.constantFrom(...extremes), fc.uint8Array({ minLength: 1, maxLength: 8 }))

type Edit = (bytes: Buffer, image: Buffer) => Buffer

const overwrite = fc.tuple(place, piece).map(
  ([place, piece]): Edit =>
    (bytes, image) => {
      const copy = Buffer.from(bytes)
      const at = place(bytes, image)
      copy.set(piece.subarray(0, copy.length - at), at)
      return copy
    },
)
const insert = fc.tuple(place, piece, fc.constantFrom(1, 3, 2000)).map(
  ([place, piece, times]): Edit =>
    (bytes, image) => {
      const at = place(bytes, image)
      return Buffer.concat([
        bytes.subarray(0, at),
        ...Array<Uint8Array>(times).fill(piece),
        bytes.subarray(at),
      ])
    },
)
const remove = fc.tuple(place, fc.integer({ min: 1, max: 40 })).map(
  ([place, length]): Edit =>
    (bytes, image) => {
      const at = place(bytes, image)
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
    },
)
const cut = place.map(
  (place): Edit =>
    (bytes, image) =>
      bytes.subarray(0, place(bytes, image)),
)
const graft = fc.tuple(place, fc.constantFrom(...images), place).map(
  ([place, other, from]): Edit =>
    (bytes, image) =>
      Buffer.concat([bytes.subarray(0, place(bytes, image)), other.subarray(from(other, other))]),
)

const edits = fc.array(fc.oneof({ arbitrary: overwrite, weight: 6 }, insert, remove, cut, graft), {
  minLength: 1,
  maxLength: 4,
})
const damaged = fc
  .tuple(fc.constantFrom(...images), edits)
  .map(([image, edits]) => edits.reduce((bytes, edit) => edit(bytes, image), image))

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
    const { value } = step
    if (typeof value === 'number' && (value > MOST_HELD || value === 0))
      throw new RangeError(`it asks for ${value} bytes`)
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

/** What is to be answered. */
function statusByRule(bytes: Buffer): number {
  if (bytes.length === 0) return 400
  const format = sniff(bytes)
  if (format === undefined) return 415
  const { width, height } = sizeByRule(format, bytes) ?? { width: 0, height: 0 }
  return width > 0 && height > 0 && width * height <= MAX_PIXELS ? 200 : 422
}

/**
 * All that is said of a header: what it says, or why it is none. Nothing may be kept of a chunk.
 */
function verdict(format: Format, bytes: Buffer, sizes: readonly number[]): Header | string {
  const reader = new HeaderReader(FORMATS[format].header())
  try {
    for (const chunk of chunksOf(Buffer.from(bytes), sizes)) {
      reader.push(chunk)
      chunk.fill(0x55)
    }
    return reader.end()
  } catch (error) {
    if (error instanceof InvalidImage) return error.message
    throw error
  }
}

test('however an image is cut into chunks, whole or damaged, the same is said of it', () => {
  const any = fc.oneof(damaged, fc.constantFrom(...images))
  fc.assert(
    fc.property(any, chunkSizes, (bytes, sizes) => {
      const format = sniff(bytes)
      fc.pre(format !== undefined)
      const inOnePiece = verdict(format, bytes, [bytes.length])
      expect(verdict(format, bytes, sizes)).toEqual(inOnePiece)
      expect(verdict(format, bytes, [1])).toEqual(inOnePiece)
    }),
    { numRuns: 1000, seed: SEED + 2 },
  )
})

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

async function mediaTypeByLibrary(bytes: Buffer): Promise<string | undefined> {
  return (await fileTypeFromBuffer(bytes))?.mime.replace('apng', 'png')
}

test('a damaged image is taken or refused as its sender’s fault, by the rule, and nothing is left', async () => {
  const byStatus = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(damaged, chunkSizes, async (bytes, sizes) => {
      const status = await statusOf(bytes, sizes)
      expect(status).toBe(statusByRule(bytes))
      // A library that knows hundreds of formats would say the same of all that is taken.
      if (status === 200)
        expect(await mediaTypeByLibrary(bytes)).toBe(FORMATS[sniff(bytes) ?? 'png'].mediaType)
      byStatus.set(status, (byStatus.get(status) ?? 0) + 1)
    }),
    { numRuns: 4000, seed: SEED + 1 },
  )
  for (const status of [200, 415, 422]) expect(byStatus.get(status), `${status}`).toBeGreaterThan(200)
  expect(await temp.names()).toEqual([])
})

test('an image that is cut off at any byte is taken or refused by the rule', async () => {
  for (const image of images)
    for (let length = 0; length <= Math.min(image.length, 1500); length += 1) {
      const bytes = image.subarray(0, length)
      expect(await statusOf(bytes), `${length} bytes`).toBe(await statusByRule(bytes))
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

test.each<[string, Format, string, string, string, number]>([
  ['a JPEG', 'jpeg', 'ffd8', 'ffe10002', 'ffc0000b080001000101011100ffda', 1660],
  ['a PNG', 'png', tinyPng.toString('hex', 0, 33), '000000007445587400000000', '0000000049444154', 2490],
  ['a GIF', 'gif', GIF, '21fe00', '2c0000000001000100000200', 1240],
  ['a WebP', 'webp', WEBP.replace('ffffff0f', 'ee4d0000'), '4558494600000000', '5650382000000000', 2490],
])(
  '%s may have far more parts before its pixels than any real image has',
  (...[, format, start, piece, end, most]) => {
    const bytes = Buffer.from(start + piece.repeat(most) + end, 'hex')
    expect(verdict(format, Buffer.concat([bytes, Buffer.alloc(200)]), [1460])).toMatchObject({
      animated: false,
    })
  },
)

test('a GIF may have any number of sub-blocks of the usual length, and many of short ones, however it is cut', () => {
  const withBlocks = (short: number) =>
    Buffer.from(`${GIF}21fe${`1f${'41'.repeat(31)}`.repeat(short)}002c00000000010001000002003b`, 'hex')
  // Each of 32 bytes has half of what one may count for.
  for (const [short, found] of [
    [199_000, { animated: false }],
    [201_000, 'its header is in too many pieces'],
  ] as const)
    for (const sizes of [[1e9], [65_536], [1, 1000]]) {
      const said = verdict('gif', withBlocks(short), sizes)
      if (typeof found === 'string') expect(said).toBe(found)
      else expect(said).toMatchObject(found)
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
