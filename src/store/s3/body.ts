import type { IncomingMessage } from 'node:http'
import { pipeline, type Readable, Transform } from 'node:stream'
import { type StagedBytes, StoreError, storeFailure } from '../store.ts'

/**
 * The staged bytes as the body of one attempt, to be destroyed afterwards. A stream of them fails, with a `StoreError`, unless it is as long
 * as announced.
 */
export function bodyOf(staged: StagedBytes): Buffer | Readable {
  const { bytes, size } = staged
  if (bytes === undefined) return pipeline(staged.open(), exactly(size), () => {})
  if (bytes.length !== size) throw wrongSize()
  return bytes
}

/**
 * Passes on exactly `size` bytes. The last piece waits until the source has ended well: before it, no server has a whole
 * object.
 */
function exactly(size: number): Transform {
  let seen = 0
  let held: Buffer | undefined
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length
      const ready = held
      held = chunk
      if (seen > size) done(wrongSize())
      else done(null, ready)
    },
    flush(done) {
      if (seen === size) done(null, held)
      else done(wrongSize())
    },
    destroy(error, done) {
      done(error && storeFailure(error, 'cannot read the staged bytes'))
    },
  })
}

const wrongSize = () => new StoreError('the staged bytes are not as many as announced')

/**
 * An object's bytes as they arrive. They fail when the server has sent nothing for `silence` milliseconds; a server that waits for
 * a slow reader is not silent. Destroying them frees the connection.
 */
export function arriving(body: IncomingMessage, silence: number): Readable {
  const { socket } = body
  const look = () => {
    if (body.readableLength === 0) body.destroy(new StoreError('the store stopped in the middle of an image'))
    // Node counts anew only when something moves.
    else socket.setTimeout(silence)
  }
  socket.on('timeout', look)
  socket.setTimeout(silence)
  // The agent ends the time of a socket it takes back.
  return body.once('close', () => socket.off('timeout', look))
}
