import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { ImageName } from '../name.ts'
import type { Reservation } from '../usage/usage.ts'

/** What was agreed when a name was given out for an image that is yet to be sent. */
export interface Ticket {
  /** Bytes: exactly so many. */
  readonly size: number
  /** Unix seconds from which on nothing may begin to be sent. */
  readonly deadline: number
  /** Id of the key that asked for the link. */
  readonly keyId: string
  /** What was taken out of the quota for it, if there is one. */
  readonly reservation: Reservation | undefined
}

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const NUMBER_BYTES = 6
/** A key's id in hexadecimal; a reservation's is a UUID. */
const KEY_DIGITS = 64
const UUID = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/

/**
 * A ticket as text in hexadecimal, of at most 176 characters, so that it fits into the name of an object: nothing needs to be kept of
 * it. Only who has `secret` can read, change or make one, and it is for one name. It shows nobody whose key it was.
 */
export function sealTicket(
  { size, deadline, keyId, reservation }: Ticket,
  name: ImageName,
  secret: Buffer,
): string {
  const numbers = Buffer.alloc(2 * NUMBER_BYTES)
  numbers.writeUIntBE(size, 0, NUMBER_BYTES)
  numbers.writeUIntBE(deadline, NUMBER_BYTES, NUMBER_BYTES)
  const key = keyId + (reservation?.id.replaceAll('-', '') ?? '')
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, keyFrom(secret), nonce).setAAD(Buffer.from(name.text))
  const sealed = [cipher.update(numbers), cipher.update(key, 'hex'), cipher.final()]
  return Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]).toString('hex')
}

/** Reads a ticket for a name; undefined for anything that was not sealed for it with this secret. */
export function openTicket(text: string, name: ImageName, secret: Buffer): Ticket | undefined {
  const bytes = Buffer.from(/^(?:[0-9a-f]{2}){72,88}$/.test(text) ? text : '', 'hex')
  const [nonce, tag] = [bytes.subarray(0, NONCE_BYTES), bytes.subarray(-TAG_BYTES)]
  if (bytes.length === 0) return undefined
  try {
    const decipher = createDecipheriv(CIPHER, keyFrom(secret), nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(name.text)).setAuthTag(tag)
    const sealed = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES))
    const plain = Buffer.concat([sealed, decipher.final()])
    const size = plain.readUIntBE(0, NUMBER_BYTES)
    const deadline = plain.readUIntBE(NUMBER_BYTES, NUMBER_BYTES)
    const held = plain.toString('hex', 2 * NUMBER_BYTES)
    const [keyId, id] = [held.slice(0, KEY_DIGITS), held.slice(KEY_DIGITS).replace(UUID, '$1-$2-$3-$4-$5')]
    const reservation: Reservation | undefined =
      id === '' ? undefined : { granted: true, key: keyId, id, bytes: size }
    return { size, deadline, keyId, reservation }
  } catch {
    return undefined
  }
}

/** Not the secret itself, which also makes owner marks and delete links. */
function keyFrom(secret: Buffer): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', 'layover upload ticket', 32))
}
