import type { FastifyRequest } from 'fastify'

/** Bytes that a body may have besides the image: boundaries, part headers, fields, members. */
export const OVERHEAD = 64 * 1024

/** An upload as `stage` takes it, whichever way it came. */
export interface Incoming {
  /** The image's bytes. Ends only when the whole message has arrived and is in order; else fails with a `Problem`. */
  readonly body: AsyncIterable<Buffer>
  /** What came with them, wherever it stood in the message: complete when `body` has ended. */
  readonly fields: ReadonlyMap<string, string>
}

/** Whether a request says that its body is JSON. */
export function isJson({ headers }: FastifyRequest): boolean {
  return /^application\/json *(;|$)/i.test(headers['content-type'] ?? '')
}
