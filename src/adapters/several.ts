import type { FastifyReply, FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import type { Deps } from '../routes/deps.ts'
import { uploadHeaders } from '../routes/take-upload.ts'
import type { Outcome } from '../routes/take-uploads.ts'

/** Some files were stored and others not: each has its own result in the body (RFC 4918, section 13). */
const MULTI_STATUS = 207

/** What a client may read of one file, the first of which is 1: its own name for it is not kept. */
export type Result =
  | { readonly file: number; readonly url: string }
  | { readonly file: number; readonly problem: Problem }

/**
 * The results of a form's files, in their order. Sets the status of the answer: 200 if all are stored, 207 if some are, else that of the
 * first problem. Throws the problem of a single file, so that it is answered like any other.
 */
export function resultsOf(
  outcomes: readonly Outcome[],
  { request, reply, deps }: { request: FastifyRequest; reply: FastifyReply; deps: Deps },
): Result[] {
  const problems = outcomes.filter((outcome) => outcome instanceof Problem)
  const [first] = problems
  const [only] = outcomes
  if (first !== undefined) {
    if (outcomes.length === 1) throw first
    request.failure = first.code
    const isPartial = problems.length < outcomes.length
    reply.code(isPartial ? MULTI_STATUS : first.status)
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    reply.headers(isPartial ? {} : first.headers)
  } else if (outcomes.length === 1 && only !== undefined && !(only instanceof Problem))
    reply.headers(uploadHeaders(only.name, deps.deleteUrlOf))
  return outcomes.map((outcome, index) =>
    outcome instanceof Problem
      ? { file: index + 1, problem: outcome }
      : { file: index + 1, url: deps.urlOf(outcome.name) },
  )
}

/** What was wrong with a file, in a sentence that names it. */
export function sentenceOf({ file, problem }: Extract<Result, { problem: Problem }>): string {
  return `file ${file}: ${problem.message}`
}
