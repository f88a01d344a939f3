import {
  type Header,
  type HeaderParser,
  InvalidImage,
  type Parsing,
  type Scan,
  skip,
  take,
  tooManyPieces,
} from './header-parser.ts'

const START_OF_SCAN = 0xda
const END_OF_IMAGE = 0xd9

/**
 * Fill bytes of a header: some encoders align their segments with a few, and none writes a megabyte
 * of them.
 */
const MOST_FILL = 1024 ** 2

/** SOF0 to SOF15 but for DHT, JPG and DAC, which share their range (ITU-T T.81, table B.1). */
const isFrameHeader = (marker: number) =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc

/** Markers that stand alone, or that may not be used: no segment of a header starts with one. */
const hasNoSegment = (marker: number) => marker < 0xc0 || (marker >= 0xd0 && marker <= END_OF_IMAGE)

/**
 * Walks the segments from SOI to the first scan; the frame header among them holds the size (ITU-T
 * T.81, B.1.1 and B.2.2).
 */
export function* jpegHeader(): HeaderParser {
  const scan = fillBytes()
  yield* skip(2)
  let header: Header | undefined
  for (;;) {
    const marker = yield* nextMarker(scan)
    if (hasNoSegment(marker)) throw new InvalidImage('a segment of its header has an impossible marker')
    if (marker === START_OF_SCAN) {
      if (header === undefined) throw new InvalidImage('its pixels come before their size')
      return header
    }
    let length = (yield* take(2)).readUInt16BE() - 2
    if (header === undefined && isFrameHeader(marker)) {
      const frame = yield* take(5)
      header = { width: frame.readUInt16BE(3), height: frame.readUInt16BE(1), animated: false }
      length -= 5
    }
    if (length < 0) throw new InvalidImage('a segment of its header has an impossible length')
    yield* skip(length)
  }
}

/** A marker is a byte after 0xFF; further 0xFF bytes before it are fill (B.1.1.2). */
function* nextMarker(scan: Scan): Parsing<number> {
  const pair = yield* take(2)
  if (pair[0] !== 0xff) throw new InvalidImage('a segment of its header does not start with a marker')
  const marker = pair.readUInt8(1)
  if (marker !== 0xff) return marker
  yield scan
  return (yield* take(1)).readUInt8()
}

/** Scans a run of fill bytes. Counts those of all runs together. */
function fillBytes(): Scan {
  let count = 0
  return (chunk, start) => {
    let at = start
    while (chunk[at] === 0xff) at += 1
    count += at - start
    if (count > MOST_FILL) throw tooManyPieces()
    return at
  }
}
