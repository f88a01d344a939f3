import { hash } from 'node:crypto'
import type { IdentitySource } from '../../config-values.ts'

/** Bytes of an answer that are read at most. */
const LONGEST_ANSWER = 1024 ** 2

/**
 * The identity that a gateway's answer gives: whose key it was asked about. Rejects if there is
 * none. A number must be a whole one above 0 that JavaScript holds exactly: 0 is how some programs
 * write "nobody", and larger numbers would be rounded, so that two users became one.
 */
export async function readIdentity(answer: Response, source: IdentitySource): Promise<string> {
  const value =
    'header' in source ? answer.headers.get(source.header) : memberOf(await readJson(answer), source.member)
  if (typeof value === 'string' && value.trim() !== '') return value
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return String(value)
  const place = 'header' in source ? `header ${source.header}` : `member ${source.member.join('.')}`
  throw failure(answer, `has no identity in its ${place}`)
}

/**
 * The id of a gateway's user, in place of the SHA-256 of a key: 64 hexadecimal digits. No key has
 * the same id, as no key has a space in it. It is bound to the gateway's address, as identities of
 * two gateways may be alike.
 */
export function userId(gateway: string, identity: string): string {
  return hash('sha256', `user of ${gateway} ${identity}`)
}

async function readJson(answer: Response): Promise<unknown> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += chunk.length
    if (size > LONGEST_ANSWER) throw failure(answer, 'is longer than 1 MB')
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    // The parser's own error would repeat some of the answer in the log.
    throw failure(answer, 'is not JSON')
  }
}

function memberOf(document: unknown, path: readonly string[]): unknown {
  let value = document
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

function failure(answer: Response, what: string): Error {
  return new Error(`AUTH_UPSTREAM_IDENTITY: the answer of ${answer.url} ${what}`)
}
