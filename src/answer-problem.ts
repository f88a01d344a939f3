import type { FastifyReply, FastifyRequest } from 'fastify'
import { isHoldingBack } from './connection.ts'
import { Problem, problem, problemWith } from './errors.ts'
import { lingering } from './linger.ts'
import { problemTextFor } from './problem-text.ts'
import { ObjectNotFound, StorageFull, StoreError } from './store/store.ts'
import { UsageError } from './usage/usage.ts'

/** What a failure inside means for a client: the one place where that is decided. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof ObjectNotFound) return problem('image_not_found')
  if (error instanceof StorageFull) return problemWith('storage_full', { cause: error })
  if (error instanceof UsageError) return problemWith('usage_unavailable', { cause: error })
  if (error instanceof StoreError) return problemWith('store_unavailable', { cause: error })
  // The framework's own refusals, of headers and paths that make no sense.
  const { code, statusCode } = error as { code?: string; statusCode?: number }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return problem('multipart_expected')
  if (statusCode !== undefined && statusCode < 500) return problemWith('request_malformed', { cause: error })
  return problemWith('internal', { cause: error })
}

/** Answers with a problem, in the shape that the address speaks, so that the client gets to read it. */
export function answerProblem(request: FastifyRequest, reply: FastifyReply, problem: Problem) {
  request.failure = problem.code
  request.limitMet = problem.limit
  // Not one stack for each of a crowd.
  if (problem.limit !== undefined) request.log.warn({ limit: problem.limit }, problem.code)
  else if (problem.status >= 500) request.log.error({ err: problem.cause ?? problem }, problem.code)
  else request.log.debug({ err: problem.cause }, problem.code)

  const { type, write } = problemTextFor(request)
  const text = write(problem)
  reply
    .code(problem.status)
    .headers({ 'cache-control': 'no-store', ...problem.headers })
    .header('x-content-type-options', 'nosniff')
    .type(type)
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  const hasBody = encoding !== undefined || Number(length ?? 0) > 0
  if (!hasBody) return reply.send(text)
  // The body may not have been read to its end, so the connection is of no further use.
  reply.header('connection', 'close')
  const how = { isHeldBack: isHoldingBack(request.raw), isCostly: problem.code === 'body_fragmented' }
  return reply.header('content-length', Buffer.byteLength(text)).send(lingering(request.raw, text, how))
}
