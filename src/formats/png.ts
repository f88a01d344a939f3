import { crc32 } from 'node:zlib'
import { type HeaderParser, InvalidImage, type Parsing, skip, take } from './header-parser.ts'

const CRC_LENGTH = 4
/** What a length may be (5.3). */
const LONGEST_CHUNK = 2 ** 31 - 1

/**
 * Reads IHDR, CRC and all, then looks for the acTL chunk that makes an APNG, which must stand
 * before the first IDAT (PNG third edition, 5.3, 11.2.1 and 11.3.6.1).
 */
export function* pngHeader(): HeaderParser {
  yield* skip(8)
  const chunk = yield* take(25)
  const isHeader = chunk.readUInt32BE(0) === 13 && chunk.toString('latin1', 4, 8) === 'IHDR'
  if (!isHeader) throw new InvalidImage('it does not start with an IHDR chunk')
  if (crc32(chunk.subarray(4, 21)) !== chunk.readUInt32BE(21)) {
    throw new InvalidImage('the checksum of its IHDR chunk is wrong')
  }
  const [width, height] = [chunk.readUInt32BE(8), chunk.readUInt32BE(12)]
  return { width, height, animated: yield* hasAnimationControl() }
}

function* hasAnimationControl(): Parsing<boolean> {
  let animated = false
  for (;;) {
    const chunk = yield* take(8)
    const length = chunk.readUInt32BE(0)
    const type = chunk.toString('latin1', 4, 8)
    if (length > LONGEST_CHUNK) throw new InvalidImage('a chunk has an impossible length')
    if (type === 'IDAT') return animated
    if (type === 'IEND') throw new InvalidImage('it holds no pixels')
    if (type === 'acTL') animated = true
    yield* skip(length + CRC_LENGTH)
  }
}
