import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type OutputBudget, SMALL_PIECE } from '../../core/output-budget.ts'
import { busy } from '../../errors.ts'

/**
 * Parts of the budget that answers other than images may fill, without a key and with one: the rest
 * is for images.
 */
const PART_WITHOUT_KEY = 1 / 2
const PART_WITH_KEY = 3 / 4

/** Headers that say of a body what is not true of the refusal in its place. */
const OF_THE_BODY = [
  'accept-ranges',
  'content-disposition',
  'content-encoding',
  'content-length',
  'content-range',
  'etag',
  'last-modified',
]

/**
 * Bounds the memory that responses take whose clients do not read them. Counts what each holds
 * until it ends, and answers a GET with 503 (`server_busy`) while too much is held. What changes
 * something is answered in any case: its client has to know.
 */
export function boundOutput(app: FastifyInstance, budget: OutputBudget): void {
  app.addHook('onSend', (request, reply, payload, done) => {
    const bytes = bytesHeldFor(payload)
    if (bytes === undefined) return done()
    const isRefusable = request.method === 'GET' && reply.statusCode < 400
    if (isRefusable && budget.isOver(partFor(request, reply))) {
      if (payload instanceof Readable) payload.destroy()
      for (const name of OF_THE_BODY) reply.removeHeader(name)
      return done(busy('slow_readers'))
    }
    if (bytes > 0 && !reply.raw.closed) {
      budget.hold(bytes)
      reply.raw.once('close', () => budget.release(bytes))
    }
    done()
  })
}

/**
 * Bytes that a payload takes while its client does not read. Undefined for one that need not be
 * bounded: it is short, or a buffer, which is shared or counted by whoever lends it. 0 for a stream
 * without a buffer, which counts its own pieces.
 */
function bytesHeldFor(payload: unknown): number | undefined {
  if (typeof payload === 'string') return payload.length > SMALL_PIECE ? payload.length : undefined
  if (!(payload instanceof Readable)) return undefined
  // As much is on its way to the socket as the stream reads ahead. Streams of objects are ours, and
  // have one short piece.
  return payload.readableObjectMode ? 0 : 2 * payload.readableHighWaterMark
}

function partFor(request: FastifyRequest, reply: FastifyReply): number {
  if (String(reply.getHeader('content-type')).startsWith('image/')) return 1
  return request.apiKey === undefined ? PART_WITHOUT_KEY : PART_WITH_KEY
}
