import type { FastifyRequest } from 'fastify'
import type { Config } from './config.ts'
import type { RateLimit } from './config-values.ts'
import { problemWith } from './errors.ts'
import { openKeyFile } from './keys/file.ts'
import { idOf, knownKeys } from './keys/known.ts'
import { challengeOf, type KeyPlace, waysOf } from './keys/presented.ts'
import { openUpstream } from './keys/upstream.ts'

/** An API key as the server knows it: never the key itself. A limit that is missing is the server's own. */
export interface ApiKey {
  /**
   * SHA-256 of the key in hexadecimal, or what stands for the gateway's user who has it. The owner
   * mark of each image is made with it.
   */
  readonly id: string
  /** What the operator calls it; the log says this. */
  readonly name: string
  /** Bytes. 0: none, even if the server has one. */
  readonly quota?: number | undefined
  /** A `count` of 0: none, even if the server has one. */
  readonly rateLimit?: RateLimit | undefined
  /** Seconds that its images live at most, within what the server allows. */
  readonly maxLifetime?: number | undefined
  /** Unix seconds; from then on the key lets nobody in. */
  readonly expires?: number | undefined
}

export interface Keyring {
  /**
   * The key that a client presented, or undefined if it is none of ours. Takes no longer for one that is nearly right.
   * Rejects with a `Problem`: `key_expired`, or `auth_unavailable` while nobody can tell.
   */
  find(presented: string): Promise<ApiKey | undefined>
  /**
   * Whether this key is looked up even for an address that has guessed too often. Always, where
   * that takes a hash and a look into a map. A gateway has to be asked, so there only a key that it
   * accepted before.
   */
  alwaysLooksUp(presented: string): boolean
  /**
   * Whether several keys are in use, so that one must leave room for others. A gateway always
   * counts as several.
   */
  readonly isShared: () => boolean
  /** A key that was made just now, to be shown this once. */
  readonly firstKey?: string
}

export interface KeyringOptions {
  /** Told what is wrong with the keys while the server runs; once for each fault. */
  readonly onNote?: (note: string) => void
  /** Unix milliseconds. */
  readonly now?: () => number
  /** Whether a first key is made if there is no `keys.json`; if not, that is an error. */
  readonly mayCreate?: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the request was let in with; set by the gate of `limits.ts`. */
    apiKey: ApiKey | undefined
  }
}

/**
 * Opens the keys: those of `API_KEYS` alone if it is set, those that a gateway accepts if `AUTH_UPSTREAM_URL` is, else those of
 * `keys.json` in `dataDir`, which is made with a first key if it is missing. Throws a `ConfigError` if they are not usable.
 */
export async function openKeyring(
  config: Pick<Config, 'dataDir'> &
    Partial<Pick<Config, 'apiKeys' | 'authUpstreamUrl' | 'authUpstreamIdentity'>>,
  { onNote = () => {}, now = Date.now, mayCreate = true }: KeyringOptions = {},
): Promise<Keyring> {
  if (config.apiKeys !== undefined) {
    const known = knownKeys(config.apiKeys.map(({ name, key }) => ({ id: idOf(key), name })))
    const isShared = config.apiKeys.length > 1
    return {
      find: async (presented) => known(presented, now()),
      alwaysLooksUp: () => true,
      isShared: () => isShared,
    }
  }
  const { authUpstreamUrl, authUpstreamIdentity: identity } = config
  if (authUpstreamUrl !== undefined) return openUpstream(authUpstreamUrl, { onNote, now, identity })
  return openKeyFile(config.dataDir, { onNote, now, mayCreate })
}

/** The key that was presented, if it is good. Rejects with the `Problem` if not; `places` are where it was looked for. */
export async function findKey(
  keyring: Keyring,
  presented: string | undefined,
  places: readonly KeyPlace[] = [],
): Promise<ApiKey> {
  const options = { headers: challengeOf(places) }
  if (presented === undefined) throw problemWith('key_missing', options, { places: waysOf(places) })
  const key = await keyring.find(presented)
  if (key === undefined) throw problemWith('key_wrong', options, { places: waysOf(places) })
  return key
}

/** The key that a request was let in with. Throws where nobody has looked for one: that is a route without a gate. */
export function keyOf({ apiKey }: FastifyRequest): ApiKey {
  if (apiKey === undefined) throw new Error('this route lets in requests without a key')
  return apiKey
}
