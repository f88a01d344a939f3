import { join } from 'node:path'
import type { Config } from './config.ts'
import { openSqliteUsage } from './usage/sqlite.ts'
import { type Usage, UsageError } from './usage/usage.ts'

/** Opens what quotas and rates are counted in. Rejects with a `UsageError` if it cannot be used. */
export async function openUsage({ redisUrl, dataDir }: Pick<Config, 'redisUrl' | 'dataDir'>): Promise<Usage> {
  if (redisUrl === undefined)
    return openSqliteUsage({ path: join(dataDir, 'usage.sqlite') }).catch((error) => {
      throw new UsageError(`${error.message}; restore it, or delete it to count from zero`, { cause: error })
    })
  const { openRedisUsage } = await import('./usage/redis.ts')
  return openRedisUsage({ url: redisUrl })
}
