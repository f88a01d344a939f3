import type { FastifyRequest } from 'fastify'
import { takeKey } from '../keys/presented.ts'
import type { Credentials } from './headers.ts'

/** The keys that requests came with: the gate takes them out of the headers, and the model's server may be the one to know them. */
const presented = new WeakMap<FastifyRequest, Credentials>()

/**
 * An `onRequest` hook to stand before the gate: remembers the caller's key, and has the gate find it also where Anthropic's clients put it, in
 * `x-api-key`.
 */
export async function takeCredentials(request: FastifyRequest): Promise<void> {
  const { headers } = request.raw
  const { authorization = '' } = headers
  const key = takeKey(request, ['x-api-key'])
  if (key === undefined) return
  headers.authorization = `Bearer ${key}`
  presented.set(request, { key, scheme: /^bearer /i.test(authorization) ? 'bearer' : 'x-api-key' })
}

/** The key for the model's server: the operator's, if there is one, else the caller's; sent in the way in which the caller sent theirs. */
export function credentialsFor(request: FastifyRequest, operatorsKey: string | undefined): Credentials {
  const own = presented.get(request)
  if (own === undefined) throw new Error('this route lets in requests without a key')
  return operatorsKey === undefined ? own : { ...own, key: operatorsKey }
}
