import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import { ConfigError } from '../config.ts'
import { namesOfOne } from '../config-values.ts'
import type { ApiKey } from '../keys.ts'
import { idOf } from './known.ts'

/** Lets secret scanners recognise a key that was published by mistake. */
const PREFIX = 'sk-layover-'

/** What `keys.json` keeps of a key. Loose, so that a change keeps what a newer version wrote. */
const keyRecord = z.looseObject({
  name: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  last4: z.string(),
  created: z.iso.datetime(),
  expires: z.iso.datetime().optional(),
  /** Bytes. */
  quota: z.int().min(0).optional(),
  rate: z.object({ count: z.int().min(0), seconds: z.int().min(1) }).optional(),
  /** Seconds. */
  maxLifetime: z.int().min(1).optional(),
})
const keyFile = z.object({ keys: z.array(keyRecord) })

export type KeyRecord = z.infer<typeof keyRecord>

export const keyFileIn = (dataDir: string): string => join(dataDir, 'keys.json')

/** A new key of 192 random bits, to be shown once, and what is kept of it. `now` in Unix milliseconds. */
export function newKey(name: string, now: number): { key: string; record: KeyRecord } {
  const key = PREFIX + randomBytes(24).toString('base64url')
  const created = new Date(now).toISOString()
  return { key, record: { name, sha256: idOf(key), last4: key.slice(-4), created } }
}

/**
 * Throws a `ConfigError` that names the file, and repeats nothing of it but names: somebody may
 * have written a key there.
 */
export function parseKeyFile(path: string, text: string): KeyRecord[] {
  const keys = readRecords(path, text)
  // One entry would hide the other, and a key revoked by one name would go on by the other.
  const names = namesOfOne(keys, ({ sha256 }) => sha256)
  if (names) throw new ConfigError(`${path} has one key under two names, ${names}; remove one of them`)
  return keys
}

function readRecords(path: string, text: string): KeyRecord[] {
  try {
    return keyFile.parse(JSON.parse(text)).keys
  } catch {
    throw new ConfigError(`${path} is not a list of keys; restore it, or delete it to get a new first key`)
  }
}

export function formatKeyFile(keys: readonly KeyRecord[]): string {
  return `${JSON.stringify({ keys }, null, 2)}\n`
}

export function toApiKey({ sha256, name, quota, rate, maxLifetime, expires }: KeyRecord): ApiKey {
  const seconds = expires === undefined ? undefined : Math.floor(Date.parse(expires) / 1000)
  return { id: sha256, name, quota, rateLimit: rate, maxLifetime, expires: seconds }
}
