import { type HeaderParser, InvalidImage, skip, take } from './header-parser.ts'

const EXTENSION = 0x21
const IMAGE = 0x2c
const HAS_COLOUR_TABLE = 0x80

/** Bytes of a colour table, from the flags byte that announces it (GIF89a, sections 18 to 21). */
const colourTableLength = (flags: number) =>
  (flags & HAS_COLOUR_TABLE) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1)

/**
 * Reads the screen descriptor and walks the blocks to the second image, if there is one: a GIF has no other
 * sure sign of being animated. The pixels' blocks are passed over by their lengths (GIF89a, sections 15, 18 and 20).
 *
 * The size is the screen's or the first image's where that is larger, as browsers draw it.
 */
export function* gifHeader(): HeaderParser {
  yield* skip(6)
  const screen = yield* take(7)
  yield* skip(colourTableLength(screen.readUInt8(4)))
  const first = yield* nextImage()
  if (first === undefined) throw new InvalidImage('it holds no image')
  const width = Math.max(screen.readUInt16LE(0), first.readUInt16LE(0) + first.readUInt16LE(4))
  const height = Math.max(screen.readUInt16LE(2), first.readUInt16LE(2) + first.readUInt16LE(6))
  yield* skip(colourTableLength(first.readUInt8(8)))
  const codeSize = (yield* take(1)).readUInt8()
  if (codeSize < 1 || codeSize > 11) throw new InvalidImage('its pixels have an impossible code size')
  yield* skipSubBlocks()
  return { width, height, animated: (yield* nextImage()) !== undefined }
}

/** The next image's descriptor; none at the trailer, where the body ends, or at a byte that starts no block. */
function* nextImage(): Generator<number, Buffer | undefined, Buffer> {
  for (;;) {
    const introducer = (yield 1)[0]
    if (introducer === IMAGE) return yield* take(9)
    if (introducer !== EXTENSION) return undefined
    yield 1
    yield* skipSubBlocks()
  }
}

/** Sub-blocks are a length byte and that many bytes each, ended by a length of 0, or by the end of a cut-off file. */
function* skipSubBlocks(): Generator<number, void, Buffer> {
  let length = (yield 1)[0] ?? 0
  while (length > 0) length = (yield length + 1)[length] ?? 0
}
