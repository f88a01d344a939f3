import type { FastifyRequest } from 'fastify'
import { asEnvelope, asErrorObject, type Problem } from './errors.ts'

/** How the clients of an address are told of a problem. */
export interface ProblemText {
  /** Media type. */
  readonly type: string
  write(problem: Problem): string
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** How problems of this route are told, if not as usual at its address. */
    readonly problemText?: ProblemText
  }
}

/** Problems as JSON of this shape. */
export function jsonText(shape: (problem: Problem) => object): ProblemText {
  return { type: 'application/json; charset=utf-8', write: (problem) => JSON.stringify(shape(problem)) }
}

const ENVELOPE = jsonText(asEnvelope)
const ERROR_OBJECT = jsonText(asErrorObject)

/** How a problem with a request is told. */
export function problemTextFor(request: FastifyRequest): ProblemText {
  // What led to no route has no options either, and not even the members that they are made of.
  const ofRoute = request.is404 ? undefined : request.routeOptions.config.problemText
  return ofRoute ?? (request.url.startsWith('/api/') ? ENVELOPE : ERROR_OBJECT)
}
