import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { endSoon } from './command-line.ts'
import { ConfigError, loadConfig, readDotEnv } from './config.ts'
import { isExpected } from './expected.ts'
import { isExpired, parseName } from './name.ts'
import { openStore } from './open-store.ts'
import { openSpool } from './spool.ts'
import { openLocalStore } from './store/local.ts'
import { ObjectExists, ObjectNotFound, type StagedBytes, type Store } from './store/store.ts'

/** `layover migrate`: copies the images below DATA_DIR to the bucket that the configuration names, under the same names. */

/** Images on their way at once. */
const CONCURRENCY = 8

/** Resolves with the exit code. */
export async function migrate(): Promise<number> {
  try {
    return (await copyImages()) > 0 ? 1 : 0
  } catch (error) {
    const { message, stack } = error as Error
    complain(`The copying has ended, and can be begun again. ${isExpected(error) ? message : stack}`)
    return 1
  } finally {
    endSoon()
  }
}

/** Resolves with how many could not be copied. */
async function copyImages(): Promise<number> {
  readDotEnv()
  const config = loadConfig()
  const { dataDir } = config
  if (config.store !== 's3')
    throw new ConfigError('STORE: must be s3, with the settings of the bucket to which the images go')
  const spool = await openSpool({ dir: join(dataDir, 'tmp'), minFree: 0, maxAge: 3600 })
  const from = await openLocalStore({ root: join(dataDir, 'images'), spool })
  const to = await openStore({ config, spool, onNote: complain, leaveRules: true })
  const counts = await copyAll(from, to)
  await to.close()
  process.stdout.write(`${JSON.stringify(counts)}\n`)
  return counts.failed
}

type Outcome = 'copied' | 'alreadyThere' | 'expired' | 'failed'

async function copyAll(from: Store, to: Store): Promise<Record<Outcome, number>> {
  const before = await sizes(to)
  const outcomes = new Map<string, { outcome: Outcome; size: number }>()
  const images = from.list()

  async function copyInTurn(): Promise<void> {
    for (let next = await images.next(); !next.done; next = await images.next()) {
      const { key, size } = next.value
      const outcome =
        before.get(key) === size ? 'alreadyThere' : await copy(from, to, { key, size }).catch(failed(key))
      if (parseName(key) !== undefined) outcomes.set(key, { outcome, size })
    }
  }

  await Promise.all(Array.from({ length: CONCURRENCY }, copyInTurn))
  // What counts is what is there, also if another run was busy with the same images.
  const after = await sizes(to)
  const counts = { copied: 0, alreadyThere: 0, expired: 0, failed: 0 }
  for (const [key, { outcome, size }] of outcomes) {
    const isThere = outcome === 'expired' || outcome === 'failed' || after.get(key) === size
    if (!isThere) complain(`${key}: is not there, or not whole`)
    counts[isThere ? outcome : 'failed'] += 1
  }
  return counts
}

async function copy(from: Store, to: Store, { key, size }: { key: string; size: number }): Promise<Outcome> {
  const name = parseName(key)
  const isGone = () => name === undefined || isExpired(name, Date.now())
  if (isGone()) return 'expired'
  try {
    await to.put(key, await staged(from, key, size))
    return 'copied'
  } catch (error) {
    if (error instanceof ObjectExists) return 'alreadyThere'
    // The server that runs beside us has swept or deleted it.
    const isMissing = await from.stat(key).then(
      () => false,
      (reason) => reason instanceof ObjectNotFound,
    )
    if (isMissing) return 'expired'
    throw error
  }
}

async function sizes(store: Store): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for await (const { key, size } of store.list()) found.set(key, size)
  return found
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

function failed(key: string) {
  return (error: Error): Outcome => {
    complain(`${key}: ${error.message}`)
    return 'failed'
  }
}

function complain(text: string): void {
  process.stderr.write(`${text}\n`)
}
