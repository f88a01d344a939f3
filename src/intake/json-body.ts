import type { FastifyRequest } from 'fastify'
import { askForBody } from '../connection.ts'
import { Problem, problem, problemWith } from '../errors.ts'
import { bodyFailure, isJson, OVERHEAD, watchBody } from './incoming.ts'

/** A JSON object's members, none of which has been looked at. */
export type Members = Readonly<Record<string, unknown>>

/** Reads a small JSON object, one that holds no image. `example` is shown to those who send something else. Rejects with a `Problem`. */
export async function readJson(request: FastifyRequest, example: string): Promise<Members> {
  if (!isJson(request)) throw problem('json_expected', { example })
  const { raw } = request
  if (Number(raw.headers['content-length'] ?? 0) > OVERHEAD) throw problem('body_too_large')
  askForBody(raw)
  const watch = watchBody(raw, OVERHEAD)
  const pieces = raw.iterator({ destroyOnReturn: false })
  const read: Buffer[] = []
  try {
    for (;;) {
      const next = pieces.next()
      watch.begin()
      const { value, done } = await watch.unlessBroken(next)
      if (done) break
      read.push(value)
    }
    if (!raw.complete) throw problem('upload_incomplete')
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(read))
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Members
    throw new SyntaxError('not an object')
  } catch (error) {
    if (error instanceof Problem) throw error
    throw bodyFailure(raw, watch) ?? problemWith('json_malformed', { cause: error }, { example })
  } finally {
    pieces.return?.()
  }
}

/** The options among the members, as `readOptions` takes them: text, as a form has it. null is as good as none. */
export function optionsAmong({ expires_in: value }: Members): ReadonlyMap<string, string> {
  if (value === undefined || value === null) return new Map()
  const text = typeof value === 'string' || typeof value === 'number' ? String(value) : typeof value
  return new Map([['expires_in', text]])
}
