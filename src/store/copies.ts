import { Readable } from 'node:stream'

/** Bytes of each copy. */
const CHUNK_BYTES = 64 * 1024

/**
 * A stream of copies of bytes that others use as well, each made when the reader asks for it.
 * `done` is called when the stream has closed, and does not look at the bytes any more.
 */
export function copies(bytes: Buffer, done: () => void): Readable {
  return Readable.from(copy(bytes), { highWaterMark: 0 }).once('close', done)
}

function* copy(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES)
    yield Buffer.from(bytes.subarray(start, start + CHUNK_BYTES))
}
