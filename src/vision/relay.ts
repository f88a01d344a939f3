import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { errors } from 'undici'
import { whileClientWaits } from '../connection.ts'
import { asAnthropicError } from '../errors.ts'
import { readOptions } from '../intake/options.ts'
import { keyOf } from '../keys.ts'
import { quotaOf } from '../limits.ts'
import { jsonText } from '../problem-text.ts'
import type { Deps } from '../routes/deps.ts'
import { refuseOtherMethods } from '../routes/other-methods.ts'
import { clientGone } from '../routes/take-upload.ts'
import { admitCalls } from './admit-calls.ts'
import { credentialsFor, takeCredentials } from './caller.ts'
import { RELAY_SCHEMAS } from './describe-relay.ts'
import type { Shape } from './find-images.ts'
import { answerHeaders, requestHeaders } from './headers.ts'
import { prepare } from './prepare.ts'
import { readRequest, refuseTooLargeRequest } from './read-request.ts'
import { bare, type Call, openUpstream, type UpstreamAnswer } from './upstream.ts'

/** Where each shape of request is taken, here and below the upstream's address, which ends where `/v1` does. */
const PATHS: Readonly<Record<Shape, string>> = {
  chat: '/chat/completions',
  responses: '/responses',
  messages: '/messages',
}

export interface RelayOptions {
  readonly mayEnter: onRequestAsyncHookHandler
  /** This server's public address. */
  readonly base: () => string
  /** Of the server that calls are passed on to. */
  readonly upstreamUrl: string
}

/**
 * Calls of a model by way of this server: each image in the request is made one that the model's server can have, and the answer is
 * passed on as it comes.
 */
export function relay(app: FastifyInstance, deps: Deps, { mayEnter, base, upstreamUrl }: RelayOptions): void {
  const { config } = deps
  const { vision } = config
  const upstream = openUpstream(upstreamUrl, vision)
  app.addHook('onClose', () => upstream.close())
  const mayAsk = [takeCredentials, mayEnter]
  const admission = admitCalls(deps)

  /** Passes a call on, and answers with what comes of it. */
  async function pass(request: FastifyRequest, call: Omit<Call, 'headers'>) {
    const credentials = credentialsFor(request, vision.upstreamKey)
    const isOperators = vision.upstreamKey !== undefined
    const headers = requestHeaders(request.headers, { credentials, isOperators })
    const answer = await upstream.ask({ ...call, headers })
    if (isOperators && (answer.statusCode === 401 || answer.statusCode === 403))
      request.log.warn({ status: answer.statusCode }, 'the upstream refuses VISION_UPSTREAM_KEY')
    return answer
  }

  for (const shape of Object.keys(PATHS) as Shape[]) {
    const path = PATHS[shape]
    const onRequest = [...mayAsk, refuseTooLargeRequest(vision.maxBody), admission.withBody]
    const told = shape === 'messages' ? { problemText: jsonText(asAnthropicError) } : {}
    const options = { onRequest, schema: RELAY_SCHEMAS[shape], config: told }
    app.post(`/v1${path}`, options, async (request, reply) => {
      const signal = clientGone(reply)
      const kept = await readRequest(request, { ...deps, maxBody: vision.maxBody })
      atEnd(reply, kept.body)
      const work = async () => {
        const { id: keyId } = keyOf(request)
        const { lifetime } = readOptions(request, new Map(), config)
        const owner = { keyId, lifetime, quota: quotaOf(keyOf(request), config) }
        const prepared = await prepare(kept, shape, { ...deps, base, owner, signal })
        atEnd(reply, prepared)
        try {
          const call = { method: 'POST', path: path + queryOf(request), body: prepared.body, signal } as const
          const answer = await pass(request, call)
          await (answer.statusCode < 400 ? prepared.keep() : prepared.undo())
          return answer
        } catch (error) {
          await prepared.undo()
          throw error
        }
      }
      const answer = await whileClientWaits(request.raw, work()).catch((error) => {
        // Whatever fails because of that is nobody's fault.
        signal.throwIfAborted()
        throw error
      })
      return send(answer, { request, reply, idle: config.idleTimeout })
    })
    refuseOtherMethods(app, `/v1${path}`, ['POST'], told)
  }

  const onRequest = [...mayAsk, admission.withoutBody]
  const models = { onRequest, schema: RELAY_SCHEMAS.models, exposeHeadRoute: false }
  app.get('/v1/models', models, async (request, reply) => {
    const call = { method: 'GET', path: `/models${queryOf(request)}`, signal: clientGone(reply) } as const
    const answer = await whileClientWaits(request.raw, pass(request, call))
    return send(answer, { request, reply, idle: config.idleTimeout })
  })
  refuseOtherMethods(app, '/v1/models', ['GET'])
}

/** Disposes of what is only needed as long as the answer is not at its end. */
function atEnd({ raw, log }: FastifyReply, what: AsyncDisposable): void {
  const dispose = () => {
    Promise.resolve(what[Symbol.asyncDispose]()).catch((err) => log.warn({ err }, 'a temp file may be left'))
  }
  // Its client may have left meanwhile, and will not do so again.
  if (raw.closed) dispose()
  else raw.once('close', dispose)
}

interface SendOptions {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** Seconds that a client has which does not read what is there. */
  readonly idle: number
}

/**
 * Answers with what the model's server answers, piece by piece as it comes. Where that breaks off, so does the answer: its end must not be
 * taken for the end.
 */
function send({ statusCode, headers, body }: UpstreamAnswer, { request, reply, idle }: SendOptions) {
  const { socket } = request.raw
  // A model may think for minutes before its first word and between two, which the upstream's own limit is for.
  body.on('resume', () => {
    if (!reply.raw.headersSent) reply.raw.flushHeaders()
    socket.setTimeout(0)
  })
  body.once('error', (error) => {
    // Not where the client is the one who left.
    if (reply.raw.closed) return
    const isLate = error instanceof errors.BodyTimeoutError
    request.failure = isLate ? 'vision_upstream_timeout' : 'vision_upstream_unreachable'
    request.log.warn({ err: bare(error) }, 'the model’s server broke off its answer')
  })
  body.on('pause', () => socket.setTimeout(idle * 1000))
  return reply.code(statusCode).headers(answerHeaders(headers)).send(body)
}

/** The query as it came: `?beta=true` and the like. */
function queryOf({ url }: FastifyRequest): string {
  const start = url.indexOf('?')
  return start < 0 ? '' : url.slice(start)
}
