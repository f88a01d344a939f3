import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { closeRedis, connectRedis } from '../redis-connection.ts'
import { SCRIPTS, type ScriptCommands } from './redis-scripts.ts'
import { exceeded, type Hold, type KeyState, type Slot, timesOf, usageOf } from './slots.ts'
import type { Usage } from './usage.ts'

export interface RedisUsageOptions {
  /** `redis://` or `rediss://`, with user, password and database number if needed. */
  readonly url: string
  /** Begins the name of everything that is kept there. */
  readonly prefix?: string
}

/**
 * Usage in a Redis (6 or later, or what speaks as it does) that any number of machines share. What it keeps across its own
 * restarts and evicts when memory is short is its operator's choice. Everything has a time to live.
 *
 * Rejects with a `UsageError` if there is none at the URL or it does not let us in. Once open, a Redis that is lost makes every
 * call reject until it is back. No error holds the URL's password.
 */
export async function openRedisUsage({ url, prefix = 'layover:' }: RedisUsageOptions): Promise<Usage> {
  const { redis, attempt } = await connectRedis<ScriptCommands>(url, SCRIPTS)
  return usageIn(redis, { prefix, attempt })
}

interface Context {
  readonly prefix: string
  attempt<T>(act: () => Promise<T>): Promise<T>
}

function usageIn(redis: Redis & ScriptCommands, { prefix, attempt }: Context): Usage {
  // The 2 is that of the layout: counts of an older one are not read, and go by themselves.
  const sumsOf = (key: string) => `${prefix}usage:2:{${key}}`
  const namesOf = ({ key, id }: { key: string; id: string }) => [sumsOf(key), `${sumsOf(key)}:${id}`] as const

  return {
    reserve: (request) =>
      attempt(async () => {
        const { key, bytes, limit, window, now, id = randomUUID() } = request
        const { slot, hold, until } = timesOf(request)
        const bucket = `h${hold.expires}:${hold.ends}`
        const about = [
          id,
          bytes,
          slot,
          bucket,
          hold.expires,
          until - now,
          limit,
          now,
          Math.ceil(window * 1000),
        ]
        const reply = await redis.layoverReserve(...namesOf({ key, id }), ...about)
        if (reply === 1) return { granted: true, key, id, bytes }
        return exceeded(stateOf(reply), request)
      }),

    settle: (one) => attempt(async () => void (await redis.layoverClose(...namesOf(one), 'used'))),

    release: (one) => attempt(async () => void (await redis.layoverClose(...namesOf(one), 'unused'))),

    read: ({ key, window, now }) =>
      attempt(async () => {
        const entries = await redis.hgetall(sumsOf(key))
        return usageOf(stateOf(Object.entries(entries).flat()), { window, now })
      }),

    count: ({ name, window, now }) =>
      attempt(async () => {
        const ends = (Math.floor(now / window) + 1) * window
        // For longer than it runs: another process's clock may be a little behind.
        const count = await redis.layoverCount(`${prefix}count:${name}:${ends}`, 2 * window)
        return { count, endsIn: ends - now }
      }),

    check: () => attempt(async () => void (await redis.ping())),

    close: () => closeRedis(redis),
  }
}

/** The sums of a key, as fields and values in turn. */
function stateOf(entries: readonly string[]): KeyState {
  const slots: Slot[] = []
  const held: Hold[] = []
  for (let i = 0; i < entries.length; i += 2) {
    const [field = '', value = ''] = [entries[i], entries[i + 1]]
    const [, expires, ends] = /^h(\d+):(\d+)$/.exec(field) ?? []
    const bytes = Number.parseInt(value, 10)
    if (expires !== undefined) held.push({ expires: Number(expires), ends: Number(ends), bytes })
    else if (/^\d+$/.test(field)) slots.push({ ends: Number(field), bytes })
  }
  return { slots, held }
}
