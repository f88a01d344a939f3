import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ImageName } from './name.ts'

/**
 * A link that deletes one image, for whoever has it: a token in its query, which no log shows, proves that this server made it.
 * `base` is the server's public address.
 */
export function deleteLink(name: ImageName, { base, secret }: { base: string; secret: Buffer }): string {
  return `${base}/delete/${name.text}?token=${tokenOf(name, secret)}`
}

/** Whether a link to delete this image has the right token. Compares in constant time. */
export function isDeleteToken(name: ImageName, token: unknown, secret: Buffer): boolean {
  const right = Buffer.from(tokenOf(name, secret))
  const given = Buffer.from(typeof token === 'string' ? token : '')
  return given.length === right.length && timingSafeEqual(given, right)
}

/** 128 bits. The message begins with a word, as the secret also makes owner marks. */
function tokenOf(name: ImageName, secret: Buffer): string {
  return createHmac('sha256', secret)
    .update(`delete ${name.text}`)
    .digest()
    .subarray(0, 16)
    .toString('base64url')
}
