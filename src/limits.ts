import rateLimit, { type FastifyRateLimitStore, normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { BoundedMap } from './bounded-map.ts'
import type { Config } from './config.ts'
import type { RateLimit } from './config-values.ts'
import { Problem, problemWith } from './errors.ts'
import { type KeyPlace, takeKey } from './keys/presented.ts'
import { type ApiKey, findKey, type Keyring } from './keys.ts'
import type { Quota, Usage } from './usage/usage.ts'

export interface Limits {
  readonly config: Pick<Config, 'rateLimit' | 'quota' | 'quotaWindow' | 's3'>
  readonly usage: Usage
  readonly keyring: Keyring
  /** Unix milliseconds. */
  readonly now: () => number
}

/** Addresses that are remembered as shut out. */
const MOST_SHUT_OUT = 10_000

/**
 * Makes `onRequest` hooks that authenticate a request, and limit the rate of each key. Each looks
 * for the key in the `Authorization` header, and in the places it is made for.
 *
 * A missing or wrong key counts as a guess of the client's address; no other failure does, as a
 * gateway that is down or a key that has expired is nobody's guess. An address with too many
 * guesses is shut out until the window ends: it gets 429 without a look at its key. Keys that the
 * keyring always looks up are excepted, as whoever guesses must not shut out others behind the same
 * address.
 */
export async function gate(app: FastifyInstance, { config, usage, keyring, now }: Limits) {
  const { rateLimit: ofServer } = config
  await app.register(rateLimit, { global: false, store: counterOf(usage, now) })
  const countKey = app.createRateLimit({
    keyGenerator: ({ apiKey }) => `key ${apiKey?.id}`,
    max: ({ apiKey }) => rateOf(apiKey).count,
    timeWindow: ({ apiKey }) => rateOf(apiKey).seconds * 1000,
  })
  const countGuess = app.createRateLimit({
    keyGenerator: addressOf,
    max: ofServer.count,
    timeWindow: ofServer.seconds * 1000,
  })
  const rateOf = (key: ApiKey | undefined): RateLimit => key?.rateLimit ?? ofServer
  /**
   * Until when addresses are shut out, in Unix milliseconds. One that is forgotten too early has
   * its next key looked up once, and is shut out again: its guesses are still counted in `usage`.
   */
  const shutOut = new BoundedMap<number>(MOST_SHUT_OUT)

  type Limit = Exclude<Awaited<ReturnType<typeof countKey>>, { isAllowed: true }>

  function tell(reply: FastifyReply, { max, timeWindow, remaining, ttlInSeconds, isExceeded }: Limit): void {
    const left = { 'ratelimit-limit': max, 'ratelimit-remaining': remaining, 'ratelimit-reset': ttlInSeconds }
    reply.headers(left)
    if (isExceeded) throw tooMany({ limit: max, window: timeWindow / 1000, wait: ttlInSeconds })
  }

  function refuseIfShutOut(request: FastifyRequest): void {
    const wait = Math.ceil(((shutOut.get(addressOf(request)) ?? 0) - now()) / 1000)
    if (wait > 0) throw tooMany({ limit: ofServer.count, window: ofServer.seconds, wait })
  }

  async function noteGuess(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    refuseIfShutOut(request)
    const limit = await countGuess(request)
    if (limit.isAllowed) return
    if (limit.remaining === 0) shutOut.set(addressOf(request), now() + limit.ttl)
    tell(reply, limit)
  }

  return (places: readonly KeyPlace[] = []) =>
    async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const presented = takeKey(request, places)
      const isAlwaysLookedUp = presented !== undefined && keyring.alwaysLooksUp(presented)
      if (!isAlwaysLookedUp) refuseIfShutOut(request)
      try {
        request.apiKey = await findKey(keyring, presented, places)
      } catch (error) {
        if (ofServer.count > 0 && isGuess(error)) await noteGuess(request, reply)
        throw error
      }
      if (rateOf(request.apiKey).count === 0) return
      const limit = await countKey(request)
      if (!limit.isAllowed) tell(reply, limit)
    }
}

/**
 * The client's address as guesses are counted by it: of IPv6 its /64. Whatever the type says, a
 * client that has gone may have none.
 */
function addressOf({ ip }: FastifyRequest): string {
  return normalizeIP(ip ?? '')
}

function isGuess(error: unknown): boolean {
  return error instanceof Problem && (error.code === 'key_missing' || error.code === 'key_wrong')
}

function tooMany(detail: { limit: number; window: number; wait: number }): Problem {
  return problemWith('rate_limited', { headers: { 'retry-after': String(detail.wait) } }, detail)
}

/** Counts for the rate limiter in the usage that all processes share. */
function counterOf(usage: Usage, now: () => number) {
  return class Counter implements FastifyRateLimitStore {
    incr(name: string, done: Done, window: number): void {
      usage.count({ name, window, now: now() }).then(
        ({ count, endsIn }) => done(null, { current: count, ttl: endsIn }),
        (error) => done(error),
      )
    }

    child(): Counter {
      return this
    }
  }
}

type Done = Parameters<FastifyRateLimitStore['incr']>[1]

/** A key's quota: its own, or the server's. */
export function quotaOf(key: ApiKey, { quota, quotaWindow, s3 }: Limits['config']): Quota {
  // Longer than any upload waits for its store.
  return { limit: key.quota ?? quota, window: quotaWindow, hold: 2 * s3.timeout + 60 }
}
