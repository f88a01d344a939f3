import type { FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import { LONGEST_LIFETIME } from '../name.ts'

/** All options of an upload, as a query, a form or a JSON object has them: those here and those of `copy.ts`. */
export const OPTION_NAMES = ['expires_in', 'fit', 'strip'] as const

export interface UploadOptions {
  /** Seconds from upload to expiry; `Infinity` for never. */
  readonly lifetime: number
}

interface Limits {
  readonly lifetime: number
  readonly maxLifetime: number
}

/** A lifetime as another program's clients ask for it. */
export interface AskedLifetime {
  /** What the client calls it, and how it is written, for one that is wrong. */
  readonly name: string
  readonly form: string
  /** NaN if it cannot be read. */
  readonly seconds: number
}

/** Finds what a client asks for in its own way, if it does. */
export type Translate = (
  request: FastifyRequest,
  fields: ReadonlyMap<string, string>,
) => AskedLifetime | undefined

/** An `onRequest` hook that refuses what is wrong in the query and the headers before the body is read. */
export function refuseBadOptions(limits: Limits, translate?: Translate) {
  return async (request: FastifyRequest): Promise<void> => {
    readOptions(request, new Map(), limits, translate)
  }
}

/**
 * What the client asks for besides storing the image: `expires_in`, in the query, as the header `X-Layover-Expires-In`, or as a
 * field of the form; the first of these counts. Throws a `Problem` if it is no number of seconds up to `maxLifetime`, the server's or the key's,
 * whichever is less. Where none of these is given, `translate` may know another way to ask.
 */
export function readOptions(
  request: FastifyRequest,
  fields: ReadonlyMap<string, string>,
  limits: Limits,
  translate?: Translate,
): UploadOptions {
  const query = request.query as Readonly<Record<string, unknown>>
  const given = query.expires_in ?? request.headers['x-layover-expires-in'] ?? fields.get('expires_in')
  const maxLifetime = Math.min(limits.maxLifetime, request.apiKey?.maxLifetime ?? Number.POSITIVE_INFINITY)
  const isWithin = (lifetime: number) => lifetime >= 1 && lifetime <= Math.min(maxLifetime, LONGEST_LIFETIME)
  if (given !== undefined) {
    const lifetime = typeof given === 'string' && /^\d{1,12}$/.test(given) ? Number(given) : 0
    if (!isWithin(lifetime)) throw problem('expires_in_invalid', { limit: maxLifetime })
    return { lifetime }
  }
  const asked = translate?.(request, fields)
  if (asked === undefined) return { lifetime: Math.min(limits.lifetime, maxLifetime) }
  const { seconds, ...said } = asked
  if (!isWithin(seconds)) throw problem('lifetime_invalid', { ...said, limit: maxLifetime })
  return { lifetime: Math.floor(seconds) }
}
