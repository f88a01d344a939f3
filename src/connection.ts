import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { asEnvelope, asErrorObject, type Problem, problem } from './errors.ts'

/** How often connections that have become idle are looked for while stopping, in milliseconds. */
const IDLE_CHECK = 100

/** How long a request that has begun to arrive when the server stops has to become one, in milliseconds. */
const HALF_REQUEST_TIME = 1000

/** How long a client that sent nonsense has to read what was wrong, in milliseconds. */
const FAREWELL_TIME = 1000

/** Requests whose clients hold their bodies back until they are told to go on, with the answers to tell them by. */
const holdingBack = new WeakMap<IncomingMessage, ServerResponse>()

/** Leaves it to `askForBody` to send `100 Continue`, so that a request that is refused costs its client no upload. */
export function continueWhenWanted(app: FastifyInstance): void {
  // Other expectations are ignored, as they may be (RFC 9110, section 10.1.1).
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit('request', request, response)
  })
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    holdingBack.set(request, response)
    app.server.emit('request', request, response)
  })
}

/** Answers CONNECT, which Node would leave without a word. */
export function refuseTunnels(app: FastifyInstance): void {
  app.server.on('connect', (_request, socket: Socket) => {
    // Node has let go of it, and a client that resets it would end the process.
    socket.on('error', () => {})
    answerBrokenRequest(new Error('no tunnels here'), socket)
  })
}

/** To be called by whoever is about to read a body: tells a client that waits with it to go on. */
export function askForBody(request: IncomingMessage): void {
  holdingBack.get(request)?.writeContinue()
  holdingBack.delete(request)
}

/** Whether the client of this request still waits to be told to send its body. */
export function isHoldingBack(request: IncomingMessage): boolean {
  return holdingBack.has(request)
}

/**
 * Lets `app.close()` end as soon as the last request has. Connections are kept open for the next request, or may hold half of
 * one, and without this the server would wait for them for as long as that takes.
 */
export function closeAtStop(app: FastifyInstance): void {
  const answering = new Map<Socket, number>()
  let timer: NodeJS.Timeout | undefined

  app.server.on('connection', (socket: Socket) => {
    answering.set(socket, 0)
    socket.once('close', () => answering.delete(socket))
  })
  /** A socket that has closed is not known any more, and must not become so again by its last answer's end. */
  const count = (socket: Socket, change: number) => {
    const answers = answering.get(socket)
    if (answers !== undefined) answering.set(socket, answers + change)
  }
  app.addHook('onRequest', ({ raw: { socket } }, reply, done) => {
    count(socket, 1)
    reply.raw.once('close', () => count(socket, -1))
    done()
  })
  app.addHook('preClose', async () => {
    const deadline = Date.now() + HALF_REQUEST_TIME
    timer = setInterval(() => {
      app.server.closeIdleConnections()
      if (Date.now() < deadline) return
      for (const [socket, answers] of answering) if (answers === 0) socket.destroySoon()
    }, IDLE_CHECK)
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (timer !== undefined) reply.header('connection', 'close')
    done()
  })
  app.addHook('onClose', async () => clearInterval(timer))
}

/**
 * Answers what never became a request: bad syntax, too long headers, a body that ended early or
 * took too long. The text comes in both error shapes, as nothing was routed. `known` is the
 * refusal, if the caller knows a better one.
 */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket, known?: Problem): void {
  // Node keeps the answer that is under way here. Once it has begun, nothing else may be written.
  const { _httpMessage: answer } = socket as { _httpMessage?: ServerResponse }
  if (error.code === 'ECONNRESET' || !socket.writable || answer?.headersSent) return void socket.destroy()
  if (answer?.req.complete) {
    // What is broken came after a whole request, which gets its own answer, and nothing comes after that.
    answer.shouldKeepAlive = false
    return
  }
  // Whoever reads the body stops reading it and answers; else the rest of it might still arrive, and be taken.
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && answer?.req.emit('timeout', socket)) return
  const refusal = known ?? REFUSALS[error.code ?? ''] ?? problem('request_malformed')
  const text = JSON.stringify({ ...asEnvelope(refusal), ...asErrorObject(refusal) })
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
      ...Object.entries(refusal.headers).map(([name, value]) => `${name}: ${value}`),
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

/**
 * Waits for work that is the server's own, with limits of its own: as long as it takes, the client has nothing to do, and its
 * connection may be idle.
 */
export async function whileClientWaits<T>({ socket }: IncomingMessage, work: T | Promise<T>): Promise<T> {
  const { timeout = 0 } = socket
  socket.setTimeout(0)
  try {
    return await work
  } finally {
    socket.setTimeout(timeout)
  }
}
