import type { FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import { FORMATS, type Header, HeaderReader } from '../formats.ts'
import { keyOf } from '../keys.ts'
import { type ImageName, isOwner, parseId } from '../name.ts'
import type { Store } from '../store/store.ts'

/** The image of a path's id that the caller uploaded. What somebody else did is not there. */
export function ownImage(request: FastifyRequest, secret: Buffer): ImageName {
  const name = parseId((request.params as { id: string }).id)
  if (name === undefined || !isOwner(name, { keyId: keyOf(request).id, secret }))
    throw problem('image_not_found')
  return name
}

/** Size and header of a stored image, of which only as much is read as the header takes. */
export async function look(name: ImageName, store: Store): Promise<{ size: number } & Header> {
  const { size, body } = await store.open(name.text)
  const reader = new HeaderReader(FORMATS[name.format].header())
  for await (const chunk of body) {
    reader.push(chunk)
    if (reader.done) break
  }
  return { size, ...reader.end() }
}
