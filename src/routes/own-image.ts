import type { FastifyReply, FastifyRequest } from 'fastify'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import type { Header } from '../formats.ts'
import { keyOf } from '../keys.ts'
import { type ImageName, isOwner, parseId } from '../name.ts'
import type { Deps } from './deps.ts'
import { clientGone } from './take-upload.ts'

/** The image of a path's id that the caller uploaded. What somebody else did is not there. */
export function ownImage(request: FastifyRequest, secret: Buffer): ImageName {
  const name = parseId((request.params as { id: string }).id)
  if (name === undefined || !isOwner(name, { keyId: keyOf(request).id, secret }))
    throw problem('image_not_found')
  return name
}

/**
 * Size and header of a stored image, for the client of a request. Rejects as `StoredHeaders.read`
 * does.
 */
export function look(
  name: ImageName,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
  { headers }: Pick<Deps, 'headers'>,
): Promise<{ size: number } & Header> {
  const asker = { keyId: keyOf(request).id, signal: clientGone(reply) }
  return whileClientWaits(request.raw, headers.read(name, asker))
}
