import {
  type HeaderParser,
  InvalidImage,
  type Parsing,
  type Scan,
  skip,
  take,
  tooManyPieces,
} from './header-parser.ts'

const EXTENSION = 0x21
const IMAGE = 0x2c
const HAS_COLOUR_TABLE = 0x80

/**
 * Sub-blocks that a file may have, with one more for each so many bytes of them. Most encoders
 * write pixels in blocks of 255 bytes, those that do not compress in blocks of about 126. Shorter
 * ones are found in small files (36 bytes on average in the shortest of 27 real GIFs), and for a
 * stretch in XMP, a text whose characters are read as lengths: down to 33 bytes where spaces pad
 * it. The longest walk along 20 MB takes a millisecond or two.
 */
const MOST_SUB_BLOCKS = 100_000
const BYTES_A_SUB_BLOCK = 64

/** Bytes of a colour table, from the flags byte that announces it (GIF89a, sections 18 to 21). */
const colourTableLength = (flags: number) =>
  (flags & HAS_COLOUR_TABLE) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1)

/**
 * Reads the screen descriptor and walks the blocks to the second image, if there is one: a GIF has
 * no other sure sign of being animated. The pixels' blocks are skipped by their lengths (GIF89a,
 * sections 15, 18 and 20).
 *
 * The size is the screen's or the first image's where that is larger, as browsers draw it.
 */
export function* gifHeader(): HeaderParser {
  const scan = subBlocks()
  yield* skip(6)
  const screen = sizeAndFlags(yield* take(7), 0)
  yield* skip(screen.colours)
  if (!(yield* nextImage(scan))) throw new InvalidImage('it holds no image')
  const descriptor = yield* take(9)
  const first = sizeAndFlags(descriptor, 4)
  const width = Math.max(screen.width, descriptor.readUInt16LE(0) + first.width)
  const height = Math.max(screen.height, descriptor.readUInt16LE(2) + first.height)
  yield* skip(first.colours)
  const codeSize = (yield* take(1)).readUInt8()
  if (codeSize < 1 || codeSize > 11) throw new InvalidImage('its pixels have an impossible code size')
  yield* skipSubBlocks(scan)
  // One that is cut off inside its descriptor is none.
  const animated = (yield* nextImage(scan)) && (yield 9).length === 9
  return { width, height, animated }
}

/**
 * What the screen's and an image's descriptor have in common: two sizes, and flags that tell of a
 * colour table.
 */
function sizeAndFlags(bytes: Buffer, at: number) {
  return {
    width: bytes.readUInt16LE(at),
    height: bytes.readUInt16LE(at + 2),
    colours: colourTableLength(bytes.readUInt8(at + 4)),
  }
}

/**
 * Goes to the next image's descriptor. False at the trailer, where the body ends, or at a byte that
 * starts no block.
 */
function* nextImage(scan: Scan): Parsing<boolean> {
  for (;;) {
    const introducer = (yield 1)[0]
    if (introducer === IMAGE) return true
    if (introducer !== EXTENSION) return false
    // Its label.
    yield 1
    yield* skipSubBlocks(scan)
  }
}

/**
 * Skips sub-blocks and what ends them: a block of length 0, or the end of a file that was cut off.
 */
function* skipSubBlocks(scan: Scan): Parsing<void> {
  yield scan
  yield 1
}

/**
 * Scans sub-blocks, a length byte and that many bytes each, up to the length 0. Counts those of all
 * runs together.
 */
function subBlocks(): Scan {
  let most = MOST_SUB_BLOCKS * BYTES_A_SUB_BLOCK
  /** Bytes of the block under way that are still to come. */
  let left = 0
  return (chunk, start) => {
    let at = start + left
    while (at < chunk.length) {
      const length = chunk[at] as number
      if (length === 0) break
      at += 1 + length
      most += 1 + length - BYTES_A_SUB_BLOCK
      if (most < 0) throw tooManyPieces()
    }
    left = Math.max(0, at - chunk.length)
    return Math.min(at, chunk.length)
  }
}
