import type { FastifyRequest } from 'fastify'
import { askForBody } from '../connection.ts'
import { Problem, problem, problemWith } from '../errors.ts'
import { bodyFailure, watchBody } from './incoming.ts'

/** Reads a request whose body is the image itself, of at most `maxFileSize` bytes. */
export async function* readRaw({ raw }: FastifyRequest, maxFileSize: number): AsyncGenerator<Buffer> {
  askForBody(raw)
  const watch = watchBody(raw, maxFileSize)
  // Whoever stops reading leaves the rest, as the client is still to read why.
  const pieces = raw.iterator({ destroyOnReturn: false })
  try {
    for (;;) {
      const next = pieces.next()
      watch.begin()
      const { value, done } = await watch.unlessBroken(next)
      if (done) break
      yield value
    }
    if (!raw.complete) throw problem('upload_incomplete')
  } catch (error) {
    if (error instanceof Problem) throw error
    throw bodyFailure(raw, watch) ?? problemWith('upload_incomplete', { cause: error })
  } finally {
    pieces.return?.()
  }
}
