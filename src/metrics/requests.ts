import type { Socket } from 'node:net'
import { Counter, Gauge, Histogram, type Registry } from '@prometheus-io/client'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { parseId } from '../name.ts'
import { fetcherOf } from '../vision/fetchers.ts'

/** Seconds. A model's fetcher may give up after three. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300]

/** Any other method is one label: clients can make up names. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

type Kind = 'upload' | 'download' | 'other'

/**
 * Watches all requests of an app, from hooks. To be called before there are routes.
 *
 * Labels are routes as they are written in the code, known methods, statuses, formats and codes of `error-table.ts`: never what a
 * client chose.
 */
export function requestMetrics(registry: Registry): (app: FastifyInstance) => void {
  const { requests, problems, limitsMet, received, sent, inFlight, ...ofKind } = instruments(registry)

  function begin(request: FastifyRequest, reply: FastifyReply): void {
    // Once, as each look makes a copy.
    const { url: route = 'none' } = request.routeOptions
    const kind = kindOf(request.method, route)
    const { socket } = request.raw
    inFlight.inc({ kind })
    reply.raw.once('close', () => {
      inFlight.dec({ kind })
      const method = METHODS.has(request.method) ? request.method : 'other'
      requests.inc({ route, method, status: reply.statusCode })
      if (request.failure !== undefined) problems.inc({ route, code: request.failure })
      if (request.limitMet !== undefined) limitsMet.inc({ limit: request.limitMet })
      const traffic = trafficOf(socket)
      received.inc({ route }, traffic.received)
      sent.inc({ route }, traffic.sent)
      if (kind === 'upload') countUpload(request, reply, route)
      if (kind === 'download') countDownload(request, reply)
    })
  }

  function countUpload(request: FastifyRequest, reply: FastifyReply, route: string): void {
    const { uploads, uploadBytes, uploadTime } = ofKind
    const id = reply.getHeader('x-layover-id')
    const format = (typeof id === 'string' ? parseId(id)?.format : undefined) ?? 'none'
    // Whoever leaves before the answer has no image, whatever would have come of it.
    const result = request.failure ?? (reply.raw.writableFinished ? 'ok' : 'upload_incomplete')
    uploads.inc({ route, format, result })
    uploadTime.observe({ route, result: outcomeOf(reply) }, reply.elapsedTime / 1000)
    if (result === 'ok') uploadBytes.inc({ route }, request.taken ?? 0)
  }

  function countDownload({ method, headers }: FastifyRequest, reply: FastifyReply): void {
    const status = `${Math.floor(reply.statusCode / 100)}xx`
    ofKind.fetches.inc({ fetcher: fetcherOf(headers['user-agent']), status })
    if (method === 'GET') ofKind.imageTime.observe({ result: outcomeOf(reply) }, reply.elapsedTime / 1000)
  }

  return (app) =>
    app.addHook('onRequest', (request, reply, done) => {
      begin(request, reply)
      done()
    })
}

function instruments(registry: Registry) {
  const registers = [registry]
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers })
  const histogram = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Histogram({ name, help, labelNames, registers, buckets: BUCKETS })
  const inFlight = new Gauge({
    name: 'layover_requests_in_flight',
    help: 'Requests that have begun and not ended.',
    labelNames: ['kind'],
    registers,
  })
  for (const kind of ['upload', 'download', 'other']) inFlight.set({ kind }, 0)
  return {
    inFlight,
    requests: counter('layover_requests_total', 'Requests that have ended.', 'route', 'method', 'status'),
    problems: counter('layover_problems_total', 'Refusals and failures, by error code.', 'route', 'code'),
    limitsMet: counter('layover_limits_met_total', 'Refusals because of load, by limit.', 'limit'),
    received: counter('layover_received_bytes_total', 'Bytes from clients, headers included.', 'route'),
    sent: counter('layover_sent_bytes_total', 'Bytes to clients, headers included.', 'route'),
    uploads: counter(
      'layover_uploads_total',
      'Uploads, by "ok" or error code.',
      ...['route', 'format', 'result'],
    ),
    uploadBytes: counter('layover_upload_bytes_total', 'Bytes of the images taken.', 'route'),
    uploadTime: histogram(
      'layover_upload_duration_seconds',
      'Uploads, from their headers to the end of the answer.',
      ...['route', 'result'],
    ),
    fetches: counter(
      'layover_fetches_total',
      'GETs and HEADs of images, by who said that it asked.',
      ...['fetcher', 'status'],
    ),
    imageTime: histogram(
      'layover_image_duration_seconds',
      'GETs of images, to the end of the answer.',
      'result',
    ),
  }
}

/** The last two are those of adapters that have addresses of one part. */
const UPLOAD_ROUTES = /^\/(api\/(1\/|v1\/)?upload$|v1\/files\/uploads|incoming\/|upload$|(:name)?$)/

function kindOf(method: string, route: string): Kind {
  // They only give out a link and look what came of it; what is sent to the link is an upload.
  if (/\/(presign|complete)$/.test(route)) return 'other'
  if (UPLOAD_ROUTES.test(route)) return /^(POST|PUT)$/.test(method) ? 'upload' : 'other'
  return route.endsWith('/:year/:month/:name') && /^(GET|HEAD)$/.test(method) ? 'download' : 'other'
}

/** "failed" is the server's fault, "refused" the client's, and "broken_off" nobody knows whose. */
function outcomeOf({ statusCode, raw }: FastifyReply): 'ok' | 'refused' | 'failed' | 'broken_off' {
  if (statusCode >= 500) return 'failed'
  if (!raw.writableFinished) return 'broken_off'
  return statusCode >= 400 ? 'refused' : 'ok'
}

/** What of each connection has been counted. */
const counted = new WeakMap<Socket, { received: number; sent: number }>()

/** Bytes that have passed over a connection since it was asked for last. */
function trafficOf(socket: Socket): { received: number; sent: number } {
  const before = counted.get(socket) ?? { received: 0, sent: 0 }
  const after = { received: socket.bytesRead, sent: socket.bytesWritten }
  counted.set(socket, after)
  return { received: after.received - before.received, sent: after.sent - before.sent }
}
