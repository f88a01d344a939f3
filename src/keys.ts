import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { ConfigError } from './config.ts'
import { problem } from './errors.ts'
import { syncFolder } from './store/folder-sync.ts'
import { linkNew } from './store/link-new.ts'

/** Lets secret scanners recognise a key that was published by mistake. */
const PREFIX = 'sk-layover-'

/** An API key as the server knows it: never the key itself. */
export interface ApiKey {
  /** Stands for the key in the owner mark of the images it uploads; stays the same as long as the key does. */
  readonly id: string
  /** What the operator calls it; the log says this. */
  readonly name: string
}

export interface Keyring {
  /** The key that a client presented, if it is one of ours. Takes no longer for one that is nearly right. */
  find(presented: string): ApiKey | undefined
  /** A key that was made just now, to be shown this once. */
  readonly firstKey?: string
}

interface KeyDigest {
  readonly name: string
  readonly digest: Buffer
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the request was let in with; set by `authenticate`. */
    apiKey: ApiKey | undefined
  }
}

const keyFile = z.object({
  keys: z
    .array(
      z.object({
        name: z.string(),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        last4: z.string(),
        created: z.iso.datetime(),
      }),
    )
    .min(1),
})

/**
 * Opens the keys: those of `API_KEYS` alone if it is set, else those of `keys.json` in `dataDir`, which keeps only
 * SHA-256 digests and is made with a first key if it is missing. Throws a `ConfigError` if the file is not usable.
 */
export async function openKeyring(config: {
  dataDir: string
  apiKeys?: readonly { name: string; key: string }[] | undefined
}): Promise<Keyring> {
  if (config.apiKeys !== undefined) {
    return keyring(config.apiKeys.map(({ name, key }) => ({ name, digest: sha256(key) })))
  }
  const path = join(config.dataDir, 'keys.json')
  const firstKey = PREFIX + randomBytes(24).toString('base64url')
  const firstFile = JSON.stringify(
    {
      keys: [
        {
          name: 'first',
          sha256: sha256(firstKey).toString('hex'),
          last4: firstKey.slice(-4),
          created: new Date(),
        },
      ],
    },
    null,
    2,
  )
  const { text, isNew } = await readOrCreate(path, `${firstFile}\n`)
  const keys = parseKeyFile(path, text).map(({ name, sha256 }) => ({
    name,
    digest: Buffer.from(sha256, 'hex'),
  }))
  return isNew ? { ...keyring(keys), firstKey } : keyring(keys)
}

/** The secret that owner marks are made with: the configured one, or the one kept in `dataDir`, made at first start. */
export async function openSecret(config: { dataDir: string; secret?: Buffer | undefined }): Promise<Buffer> {
  if (config.secret !== undefined) return config.secret
  const path = join(config.dataDir, 'secret')
  const { text } = await readOrCreate(path, `${randomBytes(32).toString('hex')}\n`)
  const secret = Buffer.from(text.trim(), 'hex')
  if (secret.length < 32)
    throw new ConfigError(`${path} does not hold 32 bytes in hexadecimal; restore or delete it`)
  return secret
}

/** An `onRequest` hook that lets in only requests with a known key, before any of the body is read. */
export function authenticate(keyring: Keyring) {
  return async (request: FastifyRequest): Promise<void> => {
    const { authorization } = request.raw.headers
    // Libraries log a request's headers at their most talkative; from here on the key is not among them.
    delete request.raw.headers.authorization
    const presented = /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1]
    if (presented === undefined) throw problem('key_missing')
    const key = keyring.find(presented)
    if (key === undefined) throw problem('key_wrong')
    request.apiKey = key
  }
}

function keyring(keys: readonly KeyDigest[]): Keyring {
  const known = keys.map(({ name, digest }) => ({ key: { id: digest.toString('hex'), name }, digest }))
  return {
    find(presented) {
      const digest = sha256(presented)
      let found: ApiKey | undefined
      // No early end: the time tells neither which key it was nor how much of one was right.
      for (const candidate of known) if (timingSafeEqual(candidate.digest, digest)) found = candidate.key
      return found
    },
  }
}

function parseKeyFile(path: string, text: string) {
  try {
    return keyFile.parse(JSON.parse(text)).keys
  } catch (cause) {
    throw new ConfigError(`${path} is not a list of keys; restore it, or delete it to get a new first key`, {
      cause,
    })
  }
}

/** Reads a file of the data folder, or makes it; of two processes that start together, both read what one wrote. */
async function readOrCreate(path: string, content: string): Promise<{ text: string; isNew: boolean }> {
  const existing = await readIfThere(path)
  if (existing !== undefined) return { text: existing, isNew: false }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  // The file gets its name only when it is whole, and only if no other process was quicker.
  const draft = `${path}.${randomBytes(8).toString('hex')}`
  try {
    await writeFile(draft, content, { flag: 'wx', mode: 0o600, flush: true })
    await linkNew(draft, path)
    await syncFolder(dirname(path)).catch(async (error) => {
      // Whoever finds it next time would take its key for one that was shown.
      await rm(path, { force: true })
      throw error
    })
    return { text: content, isNew: true }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return { text: await readFile(path, 'utf8'), isNew: false }
  } finally {
    await rm(draft, { force: true })
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
