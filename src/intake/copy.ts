import type { FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import type { CopyWanted, Fitter } from '../vision/fitter.ts'
import { APIS, apiOf, type Limits } from '../vision/limits.ts'

/** Longest sides, in pixels, that a copy can be asked for with. */
const SIDES = { least: 16, most: 16_384 }

/** An `onRequest` hook that refuses, before the body is read, to make a copy that cannot be made, or that is asked for wrongly. */
export function refuseBadCopy(fitter: Pick<Fitter, 'refuseUnlessReady'>) {
  return async (request: FastifyRequest): Promise<void> => {
    if (readCopy(request, new Map())) fitter.refuseUnlessReady()
  }
}

/**
 * The copy that the client asks for besides the image: `fit` and `strip`, each in the query, as the header `X-Layover-Fit` or `X-Layover-Strip`, or
 * as a field of the form; the first of these counts. Undefined for none. Throws a `Problem` if it is nothing that can be asked for.
 */
export function readCopy(
  request: FastifyRequest,
  fields: ReadonlyMap<string, string>,
): CopyWanted | undefined {
  const query = request.query as Readonly<Record<string, unknown>>
  const [fit, strip] = ['fit', 'strip'].map(
    (name) => query[name] ?? request.headers[`x-layover-${name}`] ?? fields.get(name),
  )
  if (strip !== undefined && strip !== 'metadata') throw problem('strip_invalid')
  const limits = fit === undefined ? undefined : limitsIn(fit)
  return limits || strip ? { limits, strip: strip !== undefined } : undefined
}

function limitsIn(fit: unknown): Limits {
  const api = typeof fit === 'string' ? apiOf(fit) : undefined
  if (api) return api
  const maxSide = typeof fit === 'string' && /^[1-9]\d{1,4}$/.test(fit) ? Number(fit) : 0
  if (maxSide < SIDES.least || maxSide > SIDES.most)
    throw problem('fit_invalid', { ...SIDES, apis: APIS.map(({ id }) => id) })
  return { maxSide, formats: ['jpeg', 'png', 'webp', 'gif'], animated: true }
}
