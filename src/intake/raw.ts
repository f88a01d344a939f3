import type { FastifyRequest } from 'fastify'
import { openBody } from './body.ts'

/** Reads a request whose body is the image itself, of at most `maxFileSize` bytes. */
export async function* readRaw(request: FastifyRequest, maxFileSize: number): AsyncGenerator<Buffer> {
  yield* openBody(request, maxFileSize)
}
