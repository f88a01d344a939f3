import { randomUUID } from 'node:crypto'
import type { Source } from './source.ts'

/** A form with one file in it, on its way to the server. */
export interface Form {
  /** `undefined` for one of unknown length, that goes in chunks. */
  readonly length: number | undefined
  readonly contentType: string
  /** The form's bytes; `onSent` is told how many of the file's have been taken. */
  bytes(onSent: (bytes: number) => void): AsyncGenerator<Buffer>
}

export function formOf(source: Source): Form {
  const boundary = `layover-${randomUUID()}`
  const head = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${quotable(source.name)}"\r\n` +
      'Content-Type: application/octet-stream\r\n\r\n',
  )
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
  return {
    length: source.size === undefined ? undefined : head.length + source.size + tail.length,
    contentType: `multipart/form-data; boundary=${boundary}`,
    async *bytes(onSent) {
      yield head
      for await (const chunk of source.read()) {
        yield chunk
        onSent(chunk.length)
      }
      yield tail
    },
  }
}

/**
 * A file's name as it can stand in quotes: escaped as browsers do it (WHATWG HTML, multipart/form-data encoding), and the backslash, with which
 * some servers undo quotes, and all other control characters, which some refuse, in the same way.
 */
function quotable(name: string): string {
  return name.replaceAll(/["\\\p{Cc}]/gu, (character) => encodeURIComponent(character))
}
