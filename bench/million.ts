import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { idOf } from '../src/keys/known.ts'
import { makeName } from '../src/name.ts'
import { shardOf } from '../src/store/shards.ts'
import { tinyPng } from '../test/support/images.ts'
import { ask } from './ask.ts'
import { type Layover, startLayover } from './contestants/layover.ts'
import { folderIn } from './folders.ts'
import { usageOf } from './process.ts'

/** CPU seconds of a server on a folder with many images. */
export interface ManyResult {
  readonly live: number
  readonly expired: number
  /** From the start of the process to the end of its first sweep, above what an empty folder takes. */
  readonly startAndSweep: number
  /** Of a page of `GET /v1/files/uploads`. */
  readonly list: number
}

const LIFETIME = 72 * 3600
/** Images of a page of the list, if there are as many. */
const PAGE = 20
/** All images are of the key that asks for the list: the dearest case, and the usual one. */
const SECRET = Buffer.from(randomBytes(24).toString('hex'))
const KEY = `sk-bench-${randomBytes(24).toString('hex')}`
/** Images that are made with one expiry: as many as come in this many seconds. */
const STEP = 256

/** Starts, sweeps and lists on folders with as many live images as given, and each time the same number of expired ones. */
export async function measureMany(
  base: string,
  counts: readonly number[],
  expired: number,
): Promise<ManyResult[]> {
  await using folder = await folderIn(base)
  const file = join(folder.path, 'image')
  writeFileSync(file, tinyPng)
  const empty = await startAndList(join(folder.path, 'empty'), { live: 0, expired: 0 })
  const results: ManyResult[] = []
  for (const live of counts) {
    const dataDir = join(folder.path, `${live}`)
    const now = Math.floor(Date.now() / 1000)
    // What is alive is spread over the time to come, as if it had been uploaded evenly.
    link(file, dataDir, { count: live, from: now + 3600, until: now + LIFETIME })
    link(file, dataDir, { count: expired, from: now - 3600, until: now - 1 })
    const { startAndSweep, list } = await startAndList(dataDir, { live, expired })
    const above = startAndSweep - empty.startAndSweep
    results.push({ live, expired, startAndSweep: above, list: list - empty.list })
  }
  return results
}

async function startAndList(dataDir: string, { live, expired }: { live: number; expired: number }) {
  await using server = await startLayover({
    dataDir,
    env: { SECRET: String(SECRET), API_KEYS: `bench:${KEY}` },
  })
  const sweep = await firstSweep(server)
  if (sweep.deleted !== expired) throw new Error(`a sweep has deleted ${sweep.deleted} of ${expired}`)
  const { cpuSeconds: startAndSweep } = await usageOf(server.pid)
  const authorization = `Bearer ${KEY}`
  const { status, body } = await ask(`${server.url}/v1/files/uploads`, { headers: { authorization } })
  const page = status === 200 ? JSON.parse(String(body)).data.length : 0
  if (page !== Math.min(live, PAGE)) throw new Error(`a list was answered ${status}, with ${page} images`)
  const { cpuSeconds } = await usageOf(server.pid)
  return { startAndSweep, list: cpuSeconds - startAndSweep }
}

async function firstSweep({ logged }: Layover): Promise<Record<string, unknown>> {
  for (let waited = 0; waited < 60_000; waited += 20) {
    const [sweep] = logged('sweep')
    if (sweep !== undefined) return sweep
    await sleep(20)
  }
  throw new Error('there was no sweep')
}

interface Lot {
  readonly count: number
  /** Unix seconds of the first and last expiry. */
  readonly from: number
  readonly until: number
}

/** Gives one file many names: no more than an entry of a folder is needed to list and delete an image. */
function link(file: string, dataDir: string, { count, from, until }: Lot): void {
  const steps = Math.ceil((until - from) / STEP)
  let last = ''
  for (let step = 0, made = 0; step < steps; step += 1) {
    const expires = from + Math.floor(((until - from) * step) / steps)
    const created = expires - LIFETIME
    for (const end = Math.floor((count * (step + 1)) / steps); made < end; made += 1) {
      const { text } = makeName({ created, expires, format: 'png', keyId: idOf(KEY), secret: SECRET })
      const folder = join(dataDir, 'images', shardOf(text))
      if (folder !== last) mkdirSync(folder, { recursive: true })
      last = folder
      linkSync(file, join(folder, text))
    }
  }
}
