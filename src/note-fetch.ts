import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ImageName } from './name.ts'
import type { Receipts } from './receipts/collector.ts'
import { networkOf } from './receipts/network-of.ts'
import { sentOf } from './request-log.ts'
import { fetcherOf } from './vision/fetchers.ts'

/** Notes how the answer to a request for an image ends. To be called only when the image is there: names can be made up. */
export function noteAtEnd(
  receipts: Receipts | undefined,
  name: ImageName,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  if (receipts === undefined) return
  const { raw } = reply
  // A client that has gone has no address any more.
  const { ip } = request
  const { socket } = request.raw
  const before = socket.bytesWritten
  const note = () =>
    receipts.note(name, {
      at: Date.now(),
      method: request.method === 'HEAD' ? 'HEAD' : 'GET',
      fetcher: fetcherOf(request.headers['user-agent']),
      network: networkOf(ip),
      status: reply.statusCode,
      bytes: sentOf(request, reply, socket.bytesWritten - before) ?? 0,
      complete: raw.writableFinished,
      ms: Math.round(reply.elapsedTime),
    })
  // Its client may have left while the image was looked for.
  if (raw.closed) note()
  else raw.once('close', note)
}
