import rateLimit, { type FastifyRateLimitStore, normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { BoundedMap } from './bounded-map.ts'
import type { Config } from './config.ts'
import type { RateLimit } from './config-values.ts'
import { type Problem, problemWith } from './errors.ts'
import { idOf } from './keys/known.ts'
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

/** Addresses and keys that are remembered at once. */
const MOST_REMEMBERED = 10_000

/**
 * Makes `onRequest` hooks that let in requests with a known key, as many as its rate allows. Each looks for the key in the header that
 * is for all, and in the places it is made for.
 *
 * Requests without one count for the address they come from. When that has had too many, none from there is looked at any more, but for
 * keys that were let in before: neither can keys be guessed faster, nor a gateway that is asked for them be kept busy.
 */
export async function gate(app: FastifyInstance, { config, usage, keyring, now }: Limits) {
  const { rateLimit: ofServer } = config
  await app.register(rateLimit, { global: false, store: counterOf(usage, now) })
  const countKey = app.createRateLimit({
    keyGenerator: ({ apiKey }) => `key ${apiKey?.id}`,
    max: ({ apiKey }) => rateOf(apiKey).count,
    timeWindow: ({ apiKey }) => rateOf(apiKey).seconds * 1000,
  })
  const countStranger = app.createRateLimit({ max: ofServer.count, timeWindow: ofServer.seconds * 1000 })
  const rateOf = (key: ApiKey | undefined): RateLimit => key?.rateLimit ?? ofServer
  /** Ids of keys that were let in, and until when addresses are shut out, in Unix milliseconds; of IPv6 the networks, as they are counted. */
  const known = new BoundedMap<true>(MOST_REMEMBERED)
  const shutOut = new BoundedMap<number>(MOST_REMEMBERED)

  type Limit = Exclude<Awaited<ReturnType<typeof countKey>>, { isAllowed: true }>

  function tell(reply: FastifyReply, { max, timeWindow, remaining, ttlInSeconds, isExceeded }: Limit): void {
    const left = { 'ratelimit-limit': max, 'ratelimit-remaining': remaining, 'ratelimit-reset': ttlInSeconds }
    reply.headers(left)
    if (isExceeded) throw tooMany({ limit: max, window: timeWindow / 1000, wait: ttlInSeconds })
  }

  return (places: readonly KeyPlace[] = []) =>
    async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const presented = takeKey(request, places)
      const isStranger = presented === undefined || !known.has(idOf(presented))
      // A client that has gone has no address any more, whatever the type says.
      const address = isStranger ? normalizeIP(request.ip ?? '') : ''
      const wait = isStranger ? Math.ceil(((shutOut.get(address) ?? 0) - now()) / 1000) : 0
      if (wait > 0) throw tooMany({ limit: ofServer.count, window: ofServer.seconds, wait })
      try {
        request.apiKey = await findKey(keyring, presented, places)
        known.set(request.apiKey.id, true)
      } catch (error) {
        const limit = isStranger && ofServer.count > 0 ? await countStranger(request) : undefined
        if (limit && !limit.isAllowed) {
          if (limit.remaining === 0) shutOut.set(address, now() + limit.ttl)
          tell(reply, limit)
        }
        throw error
      }
      if (rateOf(request.apiKey).count === 0) return
      const limit = await countKey(request)
      if (!limit.isAllowed) tell(reply, limit)
    }
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
