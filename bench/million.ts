import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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
  const empty = await startAndList(join(folder.path, 'empty'), 0)
  const results: ManyResult[] = []
  for (const live of counts) {
    const dataDir = join(folder.path, `${live}`)
    const now = Math.floor(Date.now() / 1000)
    // What is alive is spread over the time to come, as if it had been uploaded evenly.
    link(file, dataDir, { count: live, from: now + 3600, until: now + LIFETIME })
    link(file, dataDir, { count: expired, from: now - 3600, until: now - 1 })
    const { startAndSweep, list } = await startAndList(dataDir, expired)
    const above = startAndSweep - empty.startAndSweep
    results.push({ live, expired, startAndSweep: above, list: list - empty.list })
  }
  return results
}

async function startAndList(dataDir: string, expired: number) {
  await using server = await startLayover({ dataDir })
  const sweep = await firstSweep(server)
  if (sweep.deleted !== expired) throw new Error(`a sweep has deleted ${sweep.deleted} of ${expired}`)
  const { cpuSeconds: startAndSweep } = await usageOf(server.pid)
  const { authorization = '' } = server.upload?.headers ?? {}
  const { status } = await ask(`${server.url}/v1/files/uploads`, { headers: { authorization } })
  if (status !== 200) throw new Error(`a list was answered ${status}`)
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
  const secret = randomBytes(32)
  for (let step = 0, made = 0; step < steps; step += 1) {
    const expires = from + Math.floor(((until - from) * step) / steps)
    const facts = { created: expires - LIFETIME, expires, format: 'png', keyId: 'bench', secret } as const
    const { text } = makeName(facts)
    const folder = join(dataDir, 'images', shardOf(text))
    mkdirSync(folder, { recursive: true })
    for (const end = Math.floor((count * (step + 1)) / steps); made < end; made += 1)
      linkSync(file, join(folder, withNumber(text, made)))
  }
}

/** A name with a number in the place of random digits: making each anew would take longer than all that is measured. */
function withNumber(text: string, number: number): string {
  const digits = String(number).padStart(8, '0')
  return text.slice(0, 20) + digits + text.slice(20 + digits.length)
}
