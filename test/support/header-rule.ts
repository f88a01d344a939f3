import { crc32 } from 'node:zlib'
import type { Format } from '../../src/formats.ts'

/** Pixels, as an image's header says. */
export interface Size {
  readonly width: number
  readonly height: number
}

/**
 * The rule for what is taken (docs/api.md, "What is taken"), said a second time and over whole files: the size, if the header is in order as far
 * as where the pixels begin. The bytes must begin as the format.
 */
export function sizeByRule(format: Format, bytes: Buffer): Size | undefined {
  try {
    return RULES[format](bytes)
  } catch (error) {
    // It looked for something behind the end.
    if (error instanceof RangeError) return undefined
    throw error
  }
}

const RULES: Readonly<Record<Format, (bytes: Buffer) => Size | undefined>> = { jpeg, png, gif, webp }

const FRAMES = [0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf]
const OTHER_SEGMENTS = [0xc4, 0xc8, 0xcc, ...Array.from({ length: 0xff - 0xdb }, (_, index) => 0xdb + index)]

function jpeg(bytes: Buffer): Size | undefined {
  let size: Size | undefined
  for (let at = 2; ; ) {
    if (bytes.readUInt8(at) !== 0xff) return undefined
    while (bytes.readUInt8(at + 1) === 0xff) at += 1
    const marker = bytes.readUInt8(at + 1)
    if (marker === 0xda) return size
    const [length, isFrame] = [bytes.readUInt16BE(at + 2), FRAMES.includes(marker)]
    if (!isFrame && !OTHER_SEGMENTS.includes(marker)) return undefined
    if (length < (isFrame && size === undefined ? 7 : 2)) return undefined
    if (isFrame) size ??= { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7) }
    at += 2 + length
  }
}

function png(bytes: Buffer): Size | undefined {
  if (bytes.toString('latin1', 8, 16) !== '\0\0\0\x0dIHDR') return undefined
  if (bytes.readUInt32BE(29) !== crc32(bytes.subarray(12, 29))) return undefined
  for (let at = 33; ; at += 12 + bytes.readUInt32BE(at)) {
    bytes.readUInt32BE(at + 4)
    if (bytes.readInt32BE(at) < 0) return undefined
    const type = bytes.toString('latin1', at + 4, at + 8)
    if (type === 'IDAT') return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) }
    if (type === 'IEND') return undefined
  }
}

function gif(bytes: Buffer): Size | undefined {
  const colours = (at: number) => ((bytes.readUInt8(at) & 0x80) === 0 ? 0 : 6 << (bytes.readUInt8(at) & 7))
  let at = 13 + colours(10)
  while (bytes.readUInt8(at) === 0x21) {
    at += 2
    while (bytes.readUInt8(at) !== 0) at += 1 + bytes.readUInt8(at)
    at += 1
  }
  if (bytes.readUInt8(at) !== 0x2c) return undefined
  const codeSize = bytes.readUInt8(at + 10 + colours(at + 9))
  if (codeSize < 1 || codeSize > 11) return undefined
  return {
    width: Math.max(bytes.readUInt16LE(6), bytes.readUInt16LE(at + 1) + bytes.readUInt16LE(at + 5)),
    height: Math.max(bytes.readUInt16LE(8), bytes.readUInt16LE(at + 3) + bytes.readUInt16LE(at + 7)),
  }
}

function webp(bytes: Buffer): Size | undefined {
  const end = bytes.readUInt32LE(4) + 8
  const kind = bytes.toString('latin1', 12, 16)
  if (end > bytes.length) return undefined
  if (kind === 'VP8 ') {
    const isFrame = (bytes.readUInt8(20) & 1) === 0 && bytes.readUIntBE(23, 3) === 0x9d012a && end >= 30
    return isFrame
      ? { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff }
      : undefined
  }
  if (kind === 'VP8L') {
    const bits = bytes.readUInt32LE(21)
    const isStream = bytes.readUInt8(20) === 0x2f && end >= 25
    return isStream ? { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 } : undefined
  }
  if (kind !== 'VP8X') return undefined
  for (let at = 30; at + 8 <= end; at += 8 + Math.ceil(bytes.readUInt32LE(at + 4) / 2) * 2)
    if (['VP8 ', 'VP8L', 'ANMF'].includes(bytes.toString('latin1', at, at + 4)))
      return { width: bytes.readUIntLE(24, 3) + 1, height: bytes.readUIntLE(27, 3) + 1 }
  return undefined
}
