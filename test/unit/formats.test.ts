import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FORMATS, type Format, type Header, HeaderReader, InvalidImage, sniff } from '../../src/formats.ts'
import { fixture, pngHeader, tinyPng } from '../support/images.ts'

/** What a decoder (Pillow) says of the fixtures. */
const fixtures: readonly ({ file: string; format: Format } & Header)[] = [
  { file: 'photo.jpg', format: 'jpeg', width: 1024, height: 484, animated: false },
  { file: 'progressive.jpg', format: 'jpeg', width: 120, height: 56, animated: false },
  { file: 'photo.png', format: 'png', width: 480, height: 226, animated: false },
  { file: 'animated.png', format: 'png', width: 120, height: 56, animated: true },
  { file: 'photo.gif', format: 'gif', width: 480, height: 226, animated: false },
  { file: 'animated.gif', format: 'gif', width: 120, height: 56, animated: true },
  { file: 'photo.webp', format: 'webp', width: 480, height: 226, animated: false },
  { file: 'lossless.webp', format: 'webp', width: 120, height: 56, animated: false },
  { file: 'animated.webp', format: 'webp', width: 120, height: 56, animated: true },
]

/** Reads a header from bytes that arrive in chunks of these sizes, over and over; in one piece without sizes. */
function readHeader(format: Format, bytes: Buffer, sizes: readonly number[] = [bytes.length]): Header {
  const reader = new HeaderReader(FORMATS[format].header())
  for (let start = 0, turn = 0; start < bytes.length && !reader.done; turn += 1) {
    const end = start + (sizes[turn % sizes.length] ?? 1)
    reader.push(bytes.subarray(start, end))
    start = end
  }
  return reader.end()
}

/** The header, or that the bytes are no image; any other failure fails the test. */
function headerOrInvalid(format: Format, bytes: Buffer): Header | 'invalid' {
  try {
    return readHeader(format, bytes)
  } catch (error) {
    if (error instanceof InvalidImage) return 'invalid'
    throw error
  }
}

const bytesOf = (...pieces: (string | Buffer | number[])[]) =>
  Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece))),
  )

describe.each(fixtures)('$file', ({ file, format, ...header }) => {
  const bytes = fixture(file)

  test(`is ${format}, ${header.width} × ${header.height}${header.animated ? ', animated' : ''}`, () => {
    expect(sniff(bytes)).toBe(format)
    expect(readHeader(format, bytes)).toEqual(header)
  })

  test('says the same however it is cut into chunks', () => {
    expect(readHeader(format, bytes, [1])).toEqual(header)
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 70_000 })), {
      minLength: 1,
    })
    fc.assert(
      fc.property(sizes, (sizes) => {
        expect(readHeader(format, bytes, sizes)).toEqual(header)
      }),
    )
  })

  test('is refused or has the same size wherever its start is cut off', () => {
    const { width, height } = header
    for (let length = 0; length < Math.min(bytes.length, 2048); length += 1) {
      const cut = headerOrInvalid(format, bytes.subarray(0, length))
      if (cut !== 'invalid') expect(cut, `${length} bytes`).toMatchObject({ width, height })
    }
  })
})

test('an APNG is a PNG that is animated', () => {
  const bytes = fixture('animated.png')
  expect(sniff(bytes)).toBe('png')
  expect(readHeader('png', bytes).animated).toBe(true)
})

test.each<[string, Buffer]>([
  ['nothing', Buffer.alloc(0)],
  ['the first 11 bytes of a PNG', tinyPng.subarray(0, 11)],
  ['a byte order mark before a PNG', bytesOf('\xef\xbb\xbf', tinyPng)],
  ['an ID3 tag before a PNG', bytesOf('ID3\x03\0\0\0\0\0\0', tinyPng)],
  ['a line end before a JPEG', bytesOf('\n', fixture('photo.jpg'))],
  ['GIF88a', bytesOf('GIF88a', fixture('photo.gif').subarray(6))],
  ['RIFF that is not WEBP', bytesOf('RIFF\x24\0\0\0WAVEfmt \x10\0\0\0')],
  ['WEBP that is not RIFF', bytesOf('RIFX', fixture('photo.webp').subarray(4))],
  ['a PNG whose line ends were translated', bytesOf('\x89PNG\n\x1a\n', tinyPng.subarray(8))],
  ['SVG', bytesOf('<svg xmlns="http://www.w3.org/2000/svg"/>')],
  ['HTML', bytesOf('<!doctype html><script>alert(1)</script>')],
  ['BMP', bytesOf('BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0')],
])('%s has none of the formats', (_title, bytes) => {
  expect(sniff(bytes)).toBeUndefined()
})

/** A header with one thing wrong: the format it begins as, and the bytes. */
const photo = fixture('photo.jpg')
const photoUpToItsScan = photo.subarray(0, photo.indexOf('\xff\xda', 'latin1'))

/** A VP8X chunk, and one with metadata of odd length, in a RIFF of the right size. */
const emptyCanvas = bytesOf('RIFF\x22\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x63\0\0\x63\0\0', 'EXIF\x03\0\0\0abc\0')

const broken: readonly [string, Format, Buffer][] = [
  [
    'HTML after the first bytes of a JPEG',
    'jpeg',
    bytesOf('\xff\xd8\xff<html><script>alert(1)</script></html>'),
  ],
  ['HTML after the first bytes of a GIF', 'gif', bytesOf('GIF89a<html><script>alert(1)</script></html>')],
  [
    'HTML after the first bytes of a PNG',
    'png',
    bytesOf(tinyPng.subarray(0, 8), '<html><body>a page</body></html>'),
  ],
  ['a PNG with a wrong checksum of its IHDR', 'png', changed(tinyPng, 29)],
  ['a PNG with a size that its checksum does not cover', 'png', changed(tinyPng, 19)],
  [
    'a PNG with IDAT before IHDR',
    'png',
    bytesOf(tinyPng.subarray(0, 8), tinyPng.subarray(33, 55), tinyPng.subarray(8, 33), tinyPng.subarray(33)),
  ],
  ['a PNG with a chunk that is longer than any may be', 'png', changed(tinyPng, 33)],
  ['a PNG with IEND and no IDAT', 'png', bytesOf(tinyPng.subarray(0, 33), tinyPng.subarray(-12))],
  [
    'a PNG with a chunk longer than the file',
    'png',
    bytesOf(tinyPng.subarray(0, 33), [0xff, 0xff, 0xff, 0xff], 'tEXt', 'ab'),
  ],
  [
    'a JPEG with pixels before their size',
    'jpeg',
    bytesOf('\xff\xd8\xff\xda\0\x08\x01\x01\0\0\x3f\0', fixture('photo.jpg').subarray(2)),
  ],
  [
    'a JPEG with a segment of length 0',
    'jpeg',
    bytesOf('\xff\xd8\xff\xe0\0\0', fixture('photo.jpg').subarray(2)),
  ],
  [
    'a JPEG with a segment of length 1',
    'jpeg',
    bytesOf('\xff\xd8\xff\xe0\0\x01', fixture('photo.jpg').subarray(2)),
  ],
  ['a JPEG that ends at once', 'jpeg', bytesOf('\xff\xd8\xff\xd9', Buffer.alloc(20))],
  ['a JPEG of fill bytes alone', 'jpeg', bytesOf('\xff\xd8', Buffer.alloc(1000, 0xff))],
  ['a WebP whose RIFF size is larger than the file', 'webp', fixture('photo.webp').subarray(0, -2)],
  [
    'a WebP whose RIFF size is too small',
    'webp',
    bytesOf('RIFF\x10\0\0\0', fixture('photo.webp').subarray(8)),
  ],
  ['a WebP with an unknown first chunk', 'webp', changed(fixture('photo.webp'), 12)],
  ['a WebP without the start code of VP8', 'webp', changed(fixture('photo.webp'), 23)],
  ['a lossless WebP without its signature', 'webp', changed(fixture('lossless.webp'), 20)],
  ['a GIF with no image in it', 'gif', bytesOf('GIF89a\x01\0\x01\0\0\0\0;')],
  ['a JPEG that ends after its size', 'jpeg', photoUpToItsScan],
  ['a WebP with a canvas and no image', 'webp', emptyCanvas],
  ['a GIF with an extension and no image', 'gif', bytesOf('GIF89a\x01\0\x01\0\0\0\0!\xfe\x03abc\0;')],
]

/** A copy with one byte inverted. */
function changed(bytes: Buffer, offset: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(offset) ^ 0xff, offset)
  return copy
}

test.each(broken)('%s is no image', (_title, format, bytes) => {
  expect(sniff(bytes)).toBe(format)
  expect(() => readHeader(format, bytes)).toThrow(InvalidImage)
  expect(() => readHeader(format, bytes, [1])).toThrow(InvalidImage)
})

describe('unusual images that are none the less whole', () => {
  test('a PNG as large as its header can say', () => {
    const header = readHeader('png', pngHeader(0x7fffffff, 0x7fffffff))
    expect(header).toEqual({ width: 0x7fffffff, height: 0x7fffffff, animated: false })
  })

  test('an image with bytes after its end', () => {
    for (const { file, format, ...header } of fixtures)
      expect(readHeader(format, bytesOf(fixture(file), 'and more')), file).toEqual(header)
  })

  test('a JPEG with fill bytes before a marker', () => {
    const photo = fixture('photo.jpg')
    const filled = bytesOf(photo.subarray(0, 2), [0xff, 0xff, 0xff], photo.subarray(2))
    expect(readHeader('jpeg', filled)).toMatchObject({ width: 1024, height: 484 })
  })

  test('a GIF whose image is larger than its screen, which browsers enlarge', () => {
    const image = ',\x02\0\x03\0\x0a\0\x14\0\0\x02\x02\x4c\x01\0;'
    expect(readHeader('gif', bytesOf(`GIF87a\x01\0\x01\0\0\0\0${image}`))).toEqual({
      width: 12,
      height: 23,
      animated: false,
    })
  })
})
