import type { FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import { LONGEST_LIFETIME } from '../name.ts'
import type { CopyWanted, Fitter } from '../vision/fitter.ts'
import { APIS, apiOf, type Limits as ImageLimits } from '../vision/limits.ts'

/** Longest sides, in pixels, that a copy can be asked for with. */
const SIDES = { least: 16, most: 16_384 }

/** The options, as a query, a form or a JSON object has them. */
export const OPTION_NAMES = ['expires_in', 'fit', 'strip'] as const

export interface UploadOptions {
  /** Seconds from upload to expiry; `Infinity` for never. */
  readonly lifetime: number
  /** The copy that shall be made besides; undefined for none. */
  readonly copy: CopyWanted | undefined
}

interface Limits {
  readonly lifetime: number
  readonly maxLifetime: number
}

/** An `onRequest` hook that refuses what is wrong in the query and the headers before the body is read. */
export function refuseBadOptions(limits: Limits, fitter: Pick<Fitter, 'refuseUnlessReady'>) {
  return async (request: FastifyRequest): Promise<void> => {
    if (readOptions(request, new Map(), limits).copy) fitter.refuseUnlessReady()
  }
}

/**
 * What the client asks for besides storing the image: `expires_in`, `fit` and `strip`, each in the query, as a header
 * (`X-Layover-Expires-In` and so on), or as a field of the form; the first of these counts. Throws a `Problem` if one is nothing that can be
 * asked for: a lifetime is a number of seconds up to `maxLifetime`, the server's or the key's, whichever is less.
 */
export function readOptions(
  request: FastifyRequest,
  fields: ReadonlyMap<string, string>,
  limits: Limits,
): UploadOptions {
  const query = request.query as Readonly<Record<string, unknown>>
  const [expiresIn, fit, strip] = OPTION_NAMES.map(
    (name) => query[name] ?? request.headers[`x-layover-${name.replace('_', '-')}`] ?? fields.get(name),
  )
  return { lifetime: lifetimeIn(expiresIn, request, limits), copy: copyIn(fit, strip) }
}

function lifetimeIn(given: unknown, request: FastifyRequest, limits: Limits): number {
  const maxLifetime = Math.min(limits.maxLifetime, request.apiKey?.maxLifetime ?? Number.POSITIVE_INFINITY)
  if (given === undefined) return Math.min(limits.lifetime, maxLifetime)
  const lifetime = typeof given === 'string' && /^\d{1,12}$/.test(given) ? Number(given) : 0
  if (lifetime < 1 || lifetime > Math.min(maxLifetime, LONGEST_LIFETIME)) {
    throw problem('expires_in_invalid', { limit: maxLifetime })
  }
  return lifetime
}

function copyIn(fit: unknown, strip: unknown): CopyWanted | undefined {
  if (strip !== undefined && strip !== 'metadata') throw problem('strip_invalid')
  const limits = fit === undefined ? undefined : limitsIn(fit)
  return limits || strip ? { limits, strip: strip !== undefined } : undefined
}

function limitsIn(fit: unknown): ImageLimits {
  const api = typeof fit === 'string' ? apiOf(fit) : undefined
  if (api) return api
  const maxSide = typeof fit === 'string' && /^[1-9]\d{1,4}$/.test(fit) ? Number(fit) : 0
  if (maxSide < SIDES.least || maxSide > SIDES.most)
    throw problem('fit_invalid', { ...SIDES, apis: APIS.map(({ id }) => id) })
  return { maxSide, formats: ['jpeg', 'png', 'webp', 'gif'], animated: true }
}
