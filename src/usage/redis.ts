import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { closeRedis, connectRedis } from '../redis-connection.ts'
import { SCRIPTS, type ScriptCommands } from './redis-scripts.ts'
import {
  exceeded,
  type HeldBytes,
  type KeyState,
  lastFree,
  type Slot,
  slotEnd,
  slotWidth,
  usageOf,
} from './slots.ts'
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
  const hashOf = (key: string) => `${prefix}usage:${key}`

  return {
    reserve: (request) =>
      attempt(async () => {
        const { key, bytes, limit, window, hold, now } = request
        const id = randomUUID()
        const holdMs = Math.ceil(hold * 1000)
        const held = `${bytes} ${slotEnd(now, window)} ${now + holdMs}`
        const keep = Math.max(Math.ceil(window * 1000) + slotWidth(window), holdMs)
        const times = [now, lastFree(now, window), keep]
        const reply = await redis.layoverReserve(hashOf(key), `r${id}`, held, bytes, limit, ...times)
        if (reply === 1) return { granted: true, key, id, bytes }
        return exceeded(stateOf(reply), request)
      }),

    settle: ({ key, id }) => attempt(async () => void (await redis.layoverSettle(hashOf(key), `r${id}`))),

    release: ({ key, id }) => attempt(async () => void (await redis.hdel(hashOf(key), `r${id}`))),

    read: ({ key, window, now }) =>
      attempt(async () => {
        const entries = await redis.hgetall(hashOf(key))
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

/** The hash of a key, as fields and values in turn. */
function stateOf(entries: readonly string[]): KeyState {
  const slots: Slot[] = []
  const held: HeldBytes[] = []
  for (let i = 0; i < entries.length; i += 2) {
    const [bytes = 0, ends, expires = 0] = (entries[i + 1] ?? '').split(' ').map(Number)
    if (ends === undefined) slots.push({ ends: Number(entries[i]), bytes })
    else held.push({ bytes, ends, expires })
  }
  return { slots, held }
}
