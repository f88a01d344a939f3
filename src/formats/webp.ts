import { type Header, type HeaderParser, InvalidImage, type Parsing, skip, take } from './header-parser.ts'

const ANIMATION = 0x02

/**
 * Reads the first chunk, which is one of three kinds and holds the size, and skips the rest: a file
 * shorter than its RIFF size was cut off (RFC 9649, sections 2.3 to 2.7).
 */
export function* webpHeader(): HeaderParser {
  const start = yield* take(20)
  const first = FIRST_CHUNKS[start.toString('latin1', 12, 16)]
  if (first === undefined) throw new InvalidImage('it does not start with a VP8, VP8L or VP8X chunk')
  let rest = start.readUInt32LE(4) + 8 - 20 - first.length
  const header = first.read(yield* take(first.length))
  if (first.isExtended) rest -= yield* skipToImage(rest)
  if (rest < 0) throw new InvalidImage('its RIFF size is too small for an image')
  yield* skip(rest)
  return header
}

/**
 * From the end of a VP8X chunk to the header of the first chunk that holds pixels; answers how many
 * bytes that was.
 */
function* skipToImage(rest: number): Parsing<number> {
  let skipped = 0
  while (skipped + 8 <= rest) {
    const chunk = yield* take(8)
    skipped += 8
    if (['VP8 ', 'VP8L', 'ANMF'].includes(chunk.toString('latin1', 0, 4))) return skipped
    // Chunks of odd length are padded.
    const length = chunk.readUInt32LE(4)
    yield* skip(length + (length % 2))
    skipped += length + (length % 2)
  }
  throw new InvalidImage('it holds no image')
}

interface FirstChunk {
  /** Bytes of the chunk's content that `read` needs. */
  readonly length: number
  /** Whether the pixels are in a later chunk. */
  readonly isExtended?: boolean
  readonly read: (content: Buffer) => Header
}

const FIRST_CHUNKS: Readonly<Record<string, FirstChunk>> = {
  /** Lossy: the frame header of RFC 6386, section 9.1. */
  'VP8 ': {
    length: 10,
    read: (content) => {
      const isKeyFrame = (content.readUInt8(0) & 1) === 0
      if (!isKeyFrame || content.readUIntBE(3, 3) !== 0x9d012a) {
        throw new InvalidImage('its VP8 frame has no start code')
      }
      return {
        width: content.readUInt16LE(6) & 0x3fff,
        height: content.readUInt16LE(8) & 0x3fff,
        animated: false,
      }
    },
  },
  /**
   * Lossless: a signature byte, then 14 bits each of width - 1 and height - 1 (RFC 9649, section
   * 3.4).
   */
  VP8L: {
    length: 5,
    read: (content) => {
      if (content.readUInt8(0) !== 0x2f) throw new InvalidImage('its VP8L chunk has no signature')
      const size = content.readUInt32LE(1)
      return { width: (size & 0x3fff) + 1, height: ((size >>> 14) & 0x3fff) + 1, animated: false }
    },
  },
  /**
   * Extended: flags, then 24 bits each of width - 1 and height - 1 of the canvas (RFC 9649, section
   * 2.7.1).
   */
  VP8X: {
    length: 10,
    isExtended: true,
    read: (content) => ({
      width: content.readUIntLE(4, 3) + 1,
      height: content.readUIntLE(7, 3) + 1,
      animated: (content.readUInt8(0) & ANIMATION) !== 0,
    }),
  },
}
