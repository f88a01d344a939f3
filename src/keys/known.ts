import { hash } from 'node:crypto'
import { problem } from '../errors.ts'
import type { ApiKey } from '../keys.ts'

/** What a key is known by: its SHA-256 in hexadecimal. */
export const idOf = (key: string): string => hash('sha256', key)

/**
 * Finds a presented key among these, at a time in Unix milliseconds. Throws the problem `key_expired` for one that was right.
 *
 * What is looked up and compared is the digest, so what the time could tell is about the digest: which key would have one that is
 * nearer cannot be worked out, and a key that differs from a right one in one character has nothing in common with it. That holds
 * for any number of keys, where comparing with each of them in constant time would cost milliseconds for ten thousand.
 */
export function knownKeys(keys: readonly ApiKey[]) {
  const byId = new Map(keys.map((key) => [key.id, key]))
  return (presented: string, now: number): ApiKey | undefined => {
    const key = byId.get(idOf(presented))
    if (key?.expires === undefined || now < key.expires * 1000) return key
    throw problem('key_expired', { expires: new Date(key.expires * 1000).toISOString() })
  }
}
