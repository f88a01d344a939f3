import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import { collectReceipts, type Receipts } from './receipts/collector.ts'

/** Why nobody notes who fetches images; undefined if somebody does. */
export function whyNoReceipts({
  receipts,
  s3PublicUrl,
}: Pick<Config, 'receipts' | 's3PublicUrl'>): string | undefined {
  if (!receipts) return 'This server keeps no receipts (RECEIPTS=off).'
  if (s3PublicUrl !== undefined)
    return 'Images are fetched from the bucket, past this server (S3_PUBLIC_URL): its own log may know.'
  return undefined
}

/**
 * Opens what receipts are kept in: beside the counts of quotas and rates, in DATA_DIR or the Redis; undefined if none are to be kept. What
 * cannot be used is said in the log, unless somebody else does: images are served without.
 */
export async function openReceipts(
  config: Pick<Config, 'receipts' | 's3PublicUrl' | 'redisUrl' | 'dataDir'>,
  log: Pick<Logger, 'error' | 'warn'>,
  { isQuiet = false }: { isQuiet?: boolean } = {},
): Promise<Receipts | undefined> {
  if (whyNoReceipts(config) !== undefined) return undefined
  const { redisUrl, dataDir } = config
  const path = join(dataDir, 'receipts.sqlite')
  const cure = redisUrl === undefined ? `; delete ${path} and restart to begin anew` : ''
  try {
    const store =
      redisUrl === undefined
        ? await (await import('./receipts/sqlite.ts')).openSqliteReceipts({ path })
        : await (await import('./receipts/redis.ts')).openRedisReceipts({ url: redisUrl })
    return collectReceipts(store, {
      onTrouble: (err) => log.error({ err }, `receipts of fetches cannot be kept${cure}`),
      onEnd: (dropped) => log.warn({ dropped }, 'receipts of fetches are kept again'),
      now: Date.now,
    })
  } catch (err) {
    if (!isQuiet) log.error({ err }, `no receipts of fetches are kept${cure}`)
    return undefined
  }
}
