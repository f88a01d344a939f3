import { FORMATS, type Header } from '../formats.ts'
import { type ImageName, imageId } from '../name.ts'
import { compatibilityOf } from '../vision/compatibility.ts'
import type { Deps } from './deps.ts'

/** What an image that never expires says: clients look for a date that is far enough ahead. */
const NEVER = '9999-12-31T23:59:59.000Z'

/** What `/v1` says of an image whose size in bytes is known, or not any more. */
export function factsOf(
  name: ImageName,
  size: number | null,
  { urlOf, deleteUrlOf }: Pick<Deps, 'urlOf' | 'deleteUrlOf'>,
) {
  return {
    id: imageId(name),
    url: urlOf(name),
    mime_type: FORMATS[name.format].mediaType,
    size,
    expires_at: expiryOf(name),
    delete_url: deleteUrlOf(name),
  }
}

/** What `/v1` says of an image that is there: also what its header says, and which APIs take it. */
export function allFactsOf(
  name: ImageName,
  { size, ...header }: { size: number } & Header,
  deps: Pick<Deps, 'urlOf' | 'deleteUrlOf'>,
) {
  const compatibility = compatibilityOf({ bytes: size, format: name.format, ...header })
  return { ...factsOf(name, size, deps), ...header, compatibility }
}

/** When an image expires, RFC 3339 in UTC. */
export function expiryOf({ expires }: ImageName): string {
  return Number.isFinite(expires) ? new Date(expires * 1000).toISOString() : NEVER
}
