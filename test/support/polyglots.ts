import { crc32 } from 'node:zlib'
import type { Format } from '../../src/formats.ts'
import { fixture, tinyPng } from './images.ts'

const HTML = '<!doctype html><html><body><script>document.title = "ran"</script></body></html>'
const SCRIPT = '=1;globalThis.ran=true;//'
const PHP = '<?php system($_GET["c"]); ?>'
/** An archive of no files. */
const ZIP = `PK\x05\x06${'\0'.repeat(18)}`

const bytesOf = (...pieces: (string | Buffer)[]) =>
  Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)))

function pngChunk(type: string, content: string): Buffer {
  const body = bytesOf(type, content)
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(content.length)
  checksum.writeUInt32BE(crc32(body))
  return bytesOf(length, body, checksum)
}

/** A JPEG with a segment right after its start. */
function jpegWith(marker: string, content: string): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(content.length + 2)
  const jpeg = fixture('progressive.jpg')
  return bytesOf(jpeg.subarray(0, 2), marker, length, content, jpeg.subarray(2))
}

/** A GIF of one pixel, as wide as `width` says in its two bytes. */
const gif = (width: string, comment = '') =>
  bytesOf(
    `GIF89a${width}\x01\0\0\0\0`,
    comment && `!\xfe${String.fromCharCode(comment.length)}${comment}\0`,
    ',\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0;',
  )

/** Real images that are something else, too, to whoever does not believe their type. */
export const polyglots: readonly { title: string; format: Format; bytes: Buffer }[] = [
  { title: 'a GIF with a page behind it', format: 'gif', bytes: bytesOf(fixture('animated.gif'), HTML) },
  { title: 'a GIF with a page in its comment', format: 'gif', bytes: gif('\x01\0', HTML) },
  // Its width opens the comment that the script's own end closes.
  { title: 'a GIF that is a script', format: 'gif', bytes: bytesOf(gif('/*'), `*/${SCRIPT}`) },
  { title: 'a GIF that is an archive', format: 'gif', bytes: bytesOf(gif('\x01\0'), ZIP) },
  { title: 'a JPEG with a page in its comment', format: 'jpeg', bytes: jpegWith('\xff\xfe', HTML) },
  { title: 'a JPEG with PHP in its comment', format: 'jpeg', bytes: jpegWith('\xff\xfe', PHP) },
  // The length of its first segment opens the comment.
  {
    title: 'a JPEG that is a script',
    format: 'jpeg',
    bytes: jpegWith('\xff\xe0', `*/${SCRIPT}`.padStart(0x2f2a - 2, '\0')),
  },
  {
    title: 'a PNG with a page in its text',
    format: 'png',
    bytes: bytesOf(tinyPng.subarray(0, 33), pngChunk('tEXt', `Comment\0${HTML}`), tinyPng.subarray(33)),
  },
  {
    title: 'a PNG with PHP in its palette',
    format: 'png',
    bytes: bytesOf(tinyPng.subarray(0, 33), pngChunk('PLTE', PHP.padEnd(30)), tinyPng.subarray(33)),
  },
  { title: 'a PNG that is an archive', format: 'png', bytes: bytesOf(tinyPng, ZIP) },
  { title: 'a PNG with a document behind it', format: 'png', bytes: bytesOf(tinyPng, '%PDF-1.7\n', HTML) },
  { title: 'a WebP with a page behind it', format: 'webp', bytes: bytesOf(fixture('lossless.webp'), HTML) },
]
