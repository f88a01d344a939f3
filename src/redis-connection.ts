import { Redis } from 'ioredis'
import { UsageError } from './usage/usage.ts'

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
}

/** A client, and what all its calls go through: a failure is a `UsageError` that says which Redis, and holds no password. */
export interface Connected<Commands> {
  readonly redis: Redis & Commands
  attempt<T>(act: () => Promise<T>): Promise<T>
}

type Scripts = Readonly<Record<string, { readonly lua: string; readonly numberOfKeys: number }>>

/**
 * Connects to a Redis. Rejects with a `UsageError` if there is none at the URL or it does not let us in. Once open, one that is lost
 * makes every call reject until it is back.
 */
export async function connectRedis<Commands>(url: string, scripts: Scripts): Promise<Connected<Commands>> {
  const place = placeOf(url)
  const redis = new Redis(url, { ...CONNECTION, scripts }) as Redis & Commands
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
  return { redis, attempt }
}

/** Lets commands that are under way end, where there is still somebody to answer them. */
export async function closeRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await redis.quit().catch(() => {})
  redis.disconnect()
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
