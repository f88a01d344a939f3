import { gifHeader } from './formats/gif.ts'
import type { HeaderParser } from './formats/header-parser.ts'
import { jpegHeader } from './formats/jpeg.ts'
import { pngHeader } from './formats/png.ts'
import { webpHeader } from './formats/webp.ts'

export { type Header, HeaderReader, InvalidImage } from './formats/header-parser.ts'

export type Format = 'jpeg' | 'png' | 'gif' | 'webp'

interface FormatFacts {
  /** File extension, without the dot. */
  readonly extension: string
  readonly mediaType: string
  /** Whether these first bytes of a body, at least `MAGIC_LENGTH` of them, are this format's. */
  readonly matches: (head: Buffer) => boolean
  /** Reads size and animation from the bytes that follow each other from offset 0. */
  readonly header: () => HeaderParser
}

/** The four formats, in the order they are tried. */
export const FORMATS: Readonly<Record<Format, FormatFacts>> = {
  jpeg: {
    extension: 'jpg',
    mediaType: 'image/jpeg',
    // The third byte is the 0xFF of the first marker; the header parser judges the marker itself.
    matches: (head) => head.readUIntBE(0, 3) === 0xffd8ff,
    header: jpegHeader,
  },
  png: {
    extension: 'png',
    mediaType: 'image/png',
    matches: (head) => head.toString('latin1', 0, 8) === '\x89PNG\r\n\x1a\n',
    header: pngHeader,
  },
  gif: {
    extension: 'gif',
    mediaType: 'image/gif',
    matches: (head) => ['GIF87a', 'GIF89a'].includes(head.toString('latin1', 0, 6)),
    header: gifHeader,
  },
  webp: {
    extension: 'webp',
    mediaType: 'image/webp',
    matches: (head) => head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP',
    header: webpHeader,
  },
}

/** How many bytes `sniff` looks at. */
export const MAGIC_LENGTH = 12

const names = Object.keys(FORMATS) as Format[]

/**
 * Names the format of a body by its first bytes, at offset 0 and nowhere else.
 *
 * `head` is the start of the body; fewer than `MAGIC_LENGTH` bytes are none of the formats.
 */
export function sniff(head: Buffer): Format | undefined {
  if (head.length < MAGIC_LENGTH) return undefined
  return names.find((format) => FORMATS[format].matches(head))
}
