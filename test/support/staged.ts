import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { PassThrough, Readable } from 'node:stream'
import { makeName } from '../../src/name.ts'
import type { StagedBytes } from '../../src/store/store.ts'

/** A key as a store gets them: an image's name, expiring at `expires` (Unix seconds). */
export function aKey({ expires = 2_000_000_000, created = 1_900_000_000 } = {}): string {
  return makeName({ created, expires, format: 'png', keyId: 'k', secret: Buffer.alloc(32) }).text
}

/** Bytes that differ from place to place, so that a piece in the wrong one shows. */
export function bytesOf(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let offset = 0; offset < size; offset += 997) bytes.writeUInt8((offset / 997) % 251, offset)
  return bytes
}

export function inMemory(bytes: Buffer): StagedBytes {
  return { size: bytes.length, bytes, open: () => Readable.from([bytes]) }
}

export function inFile(path: string, size: number): StagedBytes {
  return {
    size,
    file: { path, sync: async () => (await stat(path)).size },
    open: () => createReadStream(path),
  }
}

/** Bytes that can only be had by reading, in pieces, as from another machine. */
export function asStream(bytes: Buffer, size = bytes.length): StagedBytes {
  return { size, open: () => Readable.from(pieces(bytes)) }
}

/** A body that fails after so many bytes. */
export function failingAfter(bytes: Buffer, sent: number, error: Error): StagedBytes {
  return {
    size: bytes.length,
    open: () =>
      Readable.from(
        (async function* () {
          yield* pieces(bytes.subarray(0, sent))
          throw error
        })(),
      ),
  }
}

/** A body that stops half-way until it is told to go on. */
export function heldHalfway(bytes: Buffer) {
  const half = Math.floor(bytes.length / 2)
  const body = new PassThrough({ highWaterMark: bytes.length })
  const reached = new Promise<void>((resolve) => {
    body.once('data', () => resolve())
    body.pause()
  })
  body.write(bytes.subarray(0, half))
  const staged: StagedBytes = { size: bytes.length, open: () => body }
  return { staged, reached, goOn: () => body.end(bytes.subarray(half)) }
}

function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += 65_536) yield bytes.subarray(offset, offset + 65_536)
}
