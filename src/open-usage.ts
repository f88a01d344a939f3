import { join } from 'node:path'
import type { Config } from './config.ts'
import { openSqliteUsage } from './usage/sqlite.ts'
import { type Usage, UsageError } from './usage/usage.ts'

/** SQLite's codes for a file that this user may not open, or not write. */
const NO_RIGHTS = [8, 14]

/** Opens what quotas and rates are counted in. Rejects with a `UsageError` if it cannot be used. */
export async function openUsage({ redisUrl, dataDir }: Pick<Config, 'redisUrl' | 'dataDir'>): Promise<Usage> {
  if (redisUrl === undefined)
    return openSqliteUsage({ path: join(dataDir, 'usage.sqlite') }).catch((error) => {
      throw explained(error, dataDir)
    })
  const { openRedisUsage } = await import('./usage/redis.ts')
  return openRedisUsage({ url: redisUrl })
}

function explained({ message, cause }: UsageError, dataDir: string): UsageError {
  const { code, errcode = 0 } = cause as { code?: string; errcode?: number }
  // The higher bits say why.
  const hasNoRights = NO_RIGHTS.includes(errcode % 256) || ['EACCES', 'EROFS'].includes(code ?? '')
  const text = hasNoRights
    ? `DATA_DIR: ${dataDir} cannot be used: ${message}; the file must be one that user ${process.getuid?.()} can write`
    : `${message}; restore it, or delete it to count from zero`
  return new UsageError(text, { cause })
}
