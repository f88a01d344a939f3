import type { FastifyRequest } from 'fastify'
import { problem, problemWith } from '../errors.ts'
import { isJson, OVERHEAD } from './incoming.ts'
import { OPTION_NAMES } from './options.ts'
import { readRaw } from './raw.ts'

/** A JSON object's members, none of which has been looked at. */
export type Members = Readonly<Record<string, unknown>>

/** Reads a small JSON object, one that holds no image. `example` is shown to those who send something else. Rejects with a `Problem`. */
export async function readJson(request: FastifyRequest, example: string): Promise<Members> {
  if (!isJson(request)) throw problem('json_expected', { example })
  if (Number(request.headers['content-length'] ?? 0) > OVERHEAD) throw problem('body_too_large')
  const text = new TextDecoder('utf-8', { fatal: true })
  const body = await Array.fromAsync(readRaw(request, OVERHEAD), (piece) => Buffer.from(piece))
  try {
    const value: unknown = JSON.parse(text.decode(Buffer.concat(body)))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Members
    throw new SyntaxError('not an object')
  } catch (error) {
    throw problemWith('json_malformed', { cause: error }, { example })
  }
}

/** The options among the members, as `readOptions` takes them: text, as a form has it. null is as good as none. */
export function optionsAmong(members: Members): ReadonlyMap<string, string> {
  const given = OPTION_NAMES.flatMap((name) => {
    const value = members[name]
    if (value === undefined || value === null) return []
    const text = typeof value === 'string' || typeof value === 'number' ? String(value) : typeof value
    return [[name, text] as const]
  })
  return new Map(given)
}
