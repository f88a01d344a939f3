import type { Config } from '../config.ts'
import { problemWith } from '../errors.ts'
import type { ImageName } from '../name.ts'
import type { Usage } from '../usage/usage.ts'

/** Seconds; the shortest, as no link is ever counted as used, but only while it is open. */
const WINDOW = 1

/**
 * The cap on the links that a key may have open: given out, and neither used, taken back nor
 * expired.
 */
export interface OpenLinks {
  /**
   * Takes one of the key's places for a name's link. Rejects with `links_exceeded` if it has none
   * left, and with the usage's error.
   */
  take(keyId: string, name: ImageName): Promise<void>
  /**
   * Frees its place. Idempotent, and never fails: at the latest, it is free after the life of a
   * link.
   */
  free(keyId: string, name: ImageName): Promise<void>
}

export interface OpenLinksOptions {
  readonly config: Pick<Config, 'maxOpenLinks' | 'presignLifetime'>
  readonly usage: Usage
  /** Unix milliseconds. */
  readonly now: () => number
}

/**
 * A link is a reservation of one in a quota of MAX_OPEN_LINKS, which is never settled: so all
 * processes and replicas count together, and it ends by itself. Its id is the image's name, as
 * whoever takes the link back has nothing else of it.
 */
export function openLinks({ config, usage, now }: OpenLinksOptions): OpenLinks {
  const { maxOpenLinks: limit, presignLifetime: hold } = config
  const accountOf = (keyId: string) => `links:${keyId}`
  return {
    async take(keyId, { text: id }) {
      if (limit === 0) return
      const one = { key: accountOf(keyId), id, bytes: 1 }
      const answer = await usage.reserve({ ...one, limit, window: WINDOW, hold, now: now() })
      if (answer.granted) return
      const { retryAfter: wait } = answer
      throw problemWith('links_exceeded', { headers: { 'retry-after': String(wait) } }, { limit, wait })
    },

    async free(keyId, { text: id }) {
      if (limit === 0) return
      await usage.release({ granted: true, key: accountOf(keyId), id, bytes: 1 }).catch(() => {})
    },
  }
}
