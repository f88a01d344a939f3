import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { asEnvelope, asErrorObject, type Problem, problem } from './errors.ts'

/** How often connections that have become idle are looked for while stopping, in milliseconds. */
const IDLE_CHECK = 100

/** How long a client that sent nonsense has to read what was wrong, in milliseconds. */
const FAREWELL_TIME = 1000

/** Requests whose clients hold their bodies back until they are told to go on. */
const holdingBack = new WeakSet<IncomingMessage>()

/**
 * Sends `100 Continue` only when somebody is about to read the body, so that a request that is refused by its headers costs its
 * client no upload.
 */
export function continueWhenWanted(app: FastifyInstance): void {
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    holdingBack.add(request)
    app.server.emit('request', request, response)
  })
  app.addHook('preParsing', async (request, reply) => {
    if (holdingBack.delete(request.raw)) reply.raw.writeContinue()
  })
}

/** Whether the client of this request still waits to be told to send its body. */
export function isHoldingBack(request: IncomingMessage): boolean {
  return holdingBack.has(request)
}

/**
 * Lets `app.close()` end as soon as the last request has: connections are kept open for the next request, and without this
 * the server would wait for them for as long as that takes.
 */
export function closeAtStop(app: FastifyInstance): void {
  let timer: NodeJS.Timeout | undefined
  app.addHook('preClose', async () => {
    timer = setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK)
  })
  app.addHook('onSend', async (_request, reply) => {
    if (timer !== undefined) reply.header('connection', 'close')
  })
  app.addHook('onClose', async () => clearInterval(timer))
}

/**
 * Answers what never became a request: bad syntax, too long headers, a body that ended early or took too long. It is not
 * known which address was meant, so the text comes in both shapes.
 */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  // Node keeps the answer that is under way here. Once it has begun, nothing else may be written.
  const { _httpMessage: answer } = socket as { _httpMessage?: ServerResponse }
  if (error.code === 'ECONNRESET' || !socket.writable || answer?.headersSent) return void socket.destroy()
  const refusal = REFUSALS[error.code ?? ''] ?? problem('request_malformed')
  const text = JSON.stringify({ ...asEnvelope(refusal), ...asErrorObject(refusal) })
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${REASONS[refusal.status]}`,
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(text)}`,
      'Cache-Control: no-store',
      'Connection: close',
      '',
      text,
    ].join('\r\n'),
  )
  setTimeout(() => socket.destroy(), FAREWELL_TIME).unref()
}

const REFUSALS: Readonly<Record<string, Problem>> = {
  ERR_HTTP_REQUEST_TIMEOUT: problem('upload_stalled'),
  HPE_INVALID_EOF_STATE: problem('upload_incomplete'),
  HPE_HEADER_OVERFLOW: problem('headers_too_large'),
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}
