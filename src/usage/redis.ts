import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
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
import { type Usage, UsageError } from './usage.ts'

export interface RedisUsageOptions {
  /** `redis://` or `rediss://`, with user, password and database number if needed. */
  readonly url: string
  /** Begins the name of everything that is kept there. */
  readonly prefix?: string
}

/** ms. A call that takes longer rejects: an upload waits for it. */
const COMMAND_TIMEOUT = 2000

const CONNECTION = {
  lazyConnect: true,
  connectTimeout: 5000,
  commandTimeout: COMMAND_TIMEOUT,
  // A server that is gone without a word is found out only by its silence.
  socketTimeout: 2 * COMMAND_TIMEOUT,
  // What a broken connection leaves unanswered is sent once more, which none of the commands mind.
  maxRetriesPerRequest: 1,
  // While there is no connection a call rejects at once, rather than let uploads pile up behind it.
  enableOfflineQueue: false,
  retryStrategy: (attempts: number) => Math.min(attempts * 100, 1000),
  // After a failover the connection may lead to what is a replica now.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  scripts: SCRIPTS,
}

/**
 * Usage in a Redis (6 or later, or what speaks as it does) that any number of machines share. What it keeps across its own
 * restarts and evicts when memory is short is its operator's choice. Everything has a time to live.
 *
 * Rejects with a `UsageError` if there is none at the URL or it does not let us in. Once open, a Redis that is lost makes every
 * call reject until it is back. No error holds the URL's password.
 */
export async function openRedisUsage({ url, prefix = 'layover:' }: RedisUsageOptions): Promise<Usage> {
  const place = placeOf(url)
  const redis = new Redis(url, CONNECTION) as Redis & ScriptCommands
  let lastTrouble: unknown
  // Without a listener a lost connection would end the process.
  redis.on('error', (error) => {
    lastTrouble = error
  })
  redis.on('ready', () => {
    lastTrouble = undefined
  })

  async function attempt<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act()
    } catch (error) {
      // That a connection is closed says less than what closed it.
      const reason = redis.status === 'ready' ? error : (lastTrouble ?? error)
      throw new UsageError(`cannot use ${place}: ${textOf(reason)}`, { cause: bare(reason) })
    }
  }

  try {
    await attempt(async () => {
      await redis.connect()
      await redis.ping()
    })
  } catch (error) {
    redis.disconnect()
    throw error
  }
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

    async close() {
      // Lets commands that are under way end, where there is still somebody to answer them.
      if (redis.status === 'ready') await redis.quit().catch(() => {})
      redis.disconnect()
    },
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

/** Where a URL leads, without who goes there. */
function placeOf(url: string): string {
  const parsed = URL.parse(url)
  if (parsed === null || !['redis:', 'rediss:'].includes(parsed.protocol))
    throw new UsageError('the URL of the Redis must be redis://… or rediss://…')
  return `the Redis at ${parsed.host}`
}

/** A client's error holds the command that failed, and with AUTH the password: only what it says goes on. */
function bare(error: unknown): Error {
  const { name, stack } = error as Error
  const copy = new Error(textOf(error))
  return Object.assign(copy, { name, stack })
}

function textOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return message || code || String(error)
}
