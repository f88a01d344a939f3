import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Format } from '../../src/formats.ts'

const folder = join(import.meta.dirname, '../fixtures')

/** A file of `test/fixtures`. */
export function fixture(name: string): Buffer {
  return readFileSync(join(folder, name))
}

/** A real photograph in each format; `extension` is that of the URL it gets. */
export const photos: readonly { format: Format; file: string; mediaType: string; extension: string }[] = [
  { format: 'jpeg', file: 'photo.jpg', mediaType: 'image/jpeg', extension: 'jpg' },
  { format: 'png', file: 'photo.png', mediaType: 'image/png', extension: 'png' },
  { format: 'gif', file: 'photo.gif', mediaType: 'image/gif', extension: 'gif' },
  { format: 'webp', file: 'photo.webp', mediaType: 'image/webp', extension: 'webp' },
]

export const pathOfFixture = (name: string) => join(folder, name)

/** The smallest PNG that decodes: one transparent pixel, 67 bytes. */
export const tinyPng = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAACklEQVR4nGMAAQAABQABDQottAAAAABJRU5ErkJggg==',
  'base64',
)

/** A PNG header of any size in pixels, correct checksum included, and the start of an IDAT chunk. */
export function pngHeader(width: number, height: number): Buffer {
  const chunk = Buffer.alloc(17)
  chunk.write('IHDR', 'latin1')
  chunk.writeUInt32BE(width, 4)
  chunk.writeUInt32BE(height, 8)
  chunk.set([8, 6, 0, 0, 0], 12)
  const length = Buffer.from([0, 0, 0, 13])
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(chunk))
  const pixels = Buffer.from('\0\0\0\x0aIDAT', 'latin1')
  return Buffer.concat([tinyPng.subarray(0, 8), length, chunk, checksum, pixels])
}

/** A real PNG of exactly `size` bytes: what follows IEND is nobody's business but the client's, and comes back too. */
export function pngOfSize(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  // Not all zeros, so that a piece in the wrong place shows.
  for (let offset = 0; offset < size; offset += 4096) bytes.writeUInt8((offset / 4096) % 251, offset)
  tinyPng.copy(bytes)
  return bytes
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
