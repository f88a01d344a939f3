import { encoded, encodedSize } from './base64-encoder.ts'
import type { Span } from './json-outline.ts'
import type { KeptBody } from './read-request.ts'

/** An image to be sent in base64. */
export interface Inlined {
  /** Bytes, exactly. */
  readonly size: number
  /** Opens it when its turn has come. */
  open(): Promise<AsyncIterable<Buffer>>
}

/** What is to stand in the place of a part of a body. */
export interface Splice {
  readonly span: Span
  readonly pieces: readonly (string | Inlined)[]
}

/** A body to be sent, of exactly `size` bytes. */
export interface Rewritten {
  readonly size: number
  /** Reads it once. */
  read(): AsyncGenerator<Buffer | string>
}

/** A body with some of its parts replaced, and all else byte for byte as it came. No image is open before it is its turn, nor held whole. */
export function rewritten(body: KeptBody, splices: readonly Splice[]): Rewritten {
  const segments: (Span | string | Inlined)[] = []
  let at = 0
  for (const { span, pieces } of splices.toSorted((a, b) => a.span.start - b.span.start)) {
    segments.push({ start: at, end: span.start }, ...pieces)
    at = span.end
  }
  segments.push({ start: at, end: body.size })
  return {
    size: segments.reduce((sum, segment) => sum + sizeOf(segment), 0),
    async *read() {
      for (const segment of segments) {
        if (typeof segment === 'string') yield segment
        else if ('open' in segment) yield* encoded(await segment.open())
        else yield* body.read(segment)
      }
    },
  }
}

function sizeOf(segment: Span | string | Inlined): number {
  if (typeof segment === 'string') return Buffer.byteLength(segment)
  return 'open' in segment ? encodedSize(segment.size) : segment.end - segment.start
}
