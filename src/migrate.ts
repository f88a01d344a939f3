import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { ConfigError, loadConfig, readDotEnv } from './config.ts'
import { isExpired, parseName } from './name.ts'
import { openSpool } from './spool.ts'
import { openLocalStore } from './store/local.ts'
import { openStore } from './store/open.ts'
import { ObjectExists, type StagedBytes, type Store, StoreError } from './store/store.ts'

/** `npm run migrate`: copies the images below DATA_DIR to the bucket that the configuration names, under the same names. */

/** Images on their way at once. */
const CONCURRENCY = 8

async function migrate(): Promise<void> {
  readDotEnv()
  const config = loadConfig()
  const { dataDir } = config
  if (config.store !== 's3')
    throw new ConfigError('STORE: must be s3, with the settings of the bucket to which the images go')
  const spool = await openSpool({ dir: join(dataDir, 'tmp'), minFree: 0, maxAge: 3600 })
  const from = await openLocalStore({ root: join(dataDir, 'images'), spool })
  // No lifecycle rule before the images are there: the server's own start sees whether one may be set.
  const onNote = (note: string) => process.stderr.write(`${note}\n`)
  const to = await openStore({ config: { ...config, maxLifetime: Number.POSITIVE_INFINITY }, spool, onNote })

  const there = new Set<string>()
  for await (const { key } of to.list()) there.add(key)
  const counts = { copied: 0, alreadyThere: 0, expired: 0, failed: 0 }
  const images = from.list()

  async function copyInTurn(): Promise<void> {
    for (let next = await images.next(); !next.done; next = await images.next()) {
      const { key, size } = next.value
      const outcome = await copy(key, size).catch((error) => {
        process.stderr.write(`${key}: ${error.message}\n`)
        return 'failed' as const
      })
      counts[outcome] += 1
    }
  }

  async function copy(key: string, size: number): Promise<keyof typeof counts> {
    const name = parseName(key)
    if (name === undefined || isExpired(name, Date.now())) return 'expired'
    if (there.has(key)) return 'alreadyThere'
    try {
      await to.put(key, await staged(from, key, size))
      return 'copied'
    } catch (error) {
      if (error instanceof ObjectExists) return 'alreadyThere'
      throw error
    }
  }

  await Promise.all(Array.from({ length: CONCURRENCY }, copyInTurn))
  await to.close()
  process.stdout.write(`${JSON.stringify(counts)}\n`)
  if (counts.failed > 0) process.exitCode = 1
}

/** An image of one store as the other takes it. */
async function staged(store: Store, key: string, size: number): Promise<StagedBytes> {
  async function* bytes() {
    const { body } = await store.open(key)
    yield* body
  }
  const md5 = createHash('md5')
  for await (const chunk of bytes()) md5.update(chunk)
  return { size, md5: md5.digest('base64'), open: () => Readable.from(bytes()) }
}

try {
  await migrate()
} catch (error) {
  const { message, stack } = error as Error
  const isExpected = error instanceof ConfigError || error instanceof StoreError
  process.stderr.write(`Nothing can be copied. ${isExpected ? message : stack}\n`)
  process.exit(1)
}
