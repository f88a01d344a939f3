import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { chargeFor } from '../../src/publish.ts'
import { startApp } from '../support/app.ts'
import { pngOfSize, sha256 } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

/**
 * What holds after `kill -9`, whenever it comes:
 *
 * - Whatever was answered 200 is there, byte for byte.
 * - Whatever was not answered is absent, or whole: a kill between the moment an image is durable and its answer leaves an image that
 *   nobody was told of. It is what its sender sent, nothing else, and goes when it expires. There is at most one for each upload.
 * - Nothing else is left once the server has started again: no temp file, nothing in the area of uploads by link.
 * - The quota counts all that was answered, and holds nothing once the holds have run out. What is not stored is not counted, but for an
 *   upload by link: that is counted just before it is stored, and may be sent to its link again at no further cost.
 */

const ROUNDS = 20
const AT_ONCE = 25
/** A kill comes when some of the uploads have been answered, however fast the machine is, and up to so many milliseconds later. */
const LATEST = 20
const SIZES = [67, 3_000, 40_000, 131_072, 131_073, 700_000, 2_000_000]

const ENV = { ...OWN_KEY, QUOTA: '100GB', QUOTA_WINDOW: '30d', SWEEP_INTERVAL: '0', MIN_FREE_SPACE: '0' }

/** Numbers from 0 to 1 that look random and are the same in every run. */
function draws(seed: string): (name: string) => number {
  return (name) => createHash('sha256').update(`${seed} ${name}`).digest().readUInt32BE() / 2 ** 32
}

interface Sent {
  readonly hash: string
  readonly size: number
  readonly path: string | undefined
  readonly byLink: boolean
}

const draw = draws('kill -9')

/** An image like no other. */
function imageOf(round: number, index: number): Buffer {
  const size = SIZES[Math.floor(draw(`size ${round} ${index}`) * SIZES.length)] ?? 0
  return Buffer.concat([pngOfSize(size), Buffer.from(`${round}/${index}`)])
}

/** Sends images at once, in all ways, and kills the server meanwhile. What was not answered 200 has no path. */
async function roundOf(round: number, server: ServerProcess): Promise<Sent[]> {
  const ways = Object.keys(WAYS) as (keyof typeof WAYS)[]
  let answers = 0
  const uploads = Array.from({ length: AT_ONCE }, async (_, index) => {
    const image = imageOf(round, index)
    const way = ways[index % ways.length] ?? 'form'
    const outcome = await WAYS[way](server.url, image).catch(() => undefined)
    answers += 1
    return { hash: sha256(image), size: image.length, path: outcome?.path, byLink: way === 'link' }
  })
  const awaited = Math.floor(draw(`answers ${round}`) * AT_ONCE)
  await eventually(() => answers >= awaited)
  await sleep(draw(`moment ${round}`) * LATEST)
  await server.stop('SIGKILL')
  return Promise.all(uploads)
}

async function imagesIn(dataDir: string) {
  const entries = await readdir(join(dataDir, 'images'), { recursive: true, withFileTypes: true })
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async ({ parentPath, name }) => {
        const bytes = await readFile(join(parentPath, name))
        return { name, hash: sha256(bytes), size: bytes.length }
      }),
  )
}

const total = (images: readonly { size: number }[]) => chargeFor(...images.map(({ size }) => size))

test('20 kills at random moments of 500 uploads lose nothing that was answered, and leave nothing half', {
  timeout: 170_000,
}, async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'layover-'))
  const sent: Sent[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const server = await startServer({ dataDir, env: ENV })
    // What the round before left is gone before the first request comes in.
    expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
    sent.push(...(await roundOf(round, server)))
  }

  {
    await using server = await startServer({ dataDir, env: ENV })
    const stored = await imagesIn(dataDir)
    const answered = sent.filter(({ path }) => path !== undefined)
    // Else the kills came too early or too late to show anything.
    expect(answered.length).toBeGreaterThan(50)
    expect(sent.length - answered.length).toBeGreaterThan(50)
    for (const { path, hash } of answered) {
      const { status, body } = await call(server.url + path)
      expect({ status, hash: sha256(body) }).toEqual({ status: 200, hash })
    }
    // Each file on disk is one of the images that were sent, and none of them is there twice.
    const hashes = stored.map(({ hash }) => hash)
    expect(new Set(hashes).size).toBe(hashes.length)
    expect(hashes.filter((hash) => !sent.some((image) => image.hash === hash))).toEqual([])
    const names = stored.map(({ name }) => name)
    expect((await server.files()).sort()).toEqual(names.sort())
    expect(names).toEqual(expect.arrayContaining(answered.map(({ path }) => basename(path ?? ''))))

    const held = await quotaAt(Date.now(), dataDir)
    const settled = await quotaAt(Date.now() + 3_600_000, dataDir)
    expect(held.used).toBe(settled.used)
    expect(settled.reserved).toBe(0)
    expect(settled.used).toBeGreaterThanOrEqual(total(answered))
    const onlyCounted = sent.filter(({ byLink, hash }) => byLink && !hashes.includes(hash))
    expect(settled.used).toBeLessThanOrEqual(total(stored) + total(onlyCounted))
  }
  await rm(dataDir, { recursive: true })
})

/** What `GET /v1/files/usage` says of a data folder at another time: when all holds have run out, without waiting for it. */
async function quotaAt(time: number, dataDir: string): Promise<{ used: number; reserved: number }> {
  await using app = await startApp({ dataDir, env: ENV, now: () => time })
  return JSON.parse(String((await call(`${app.url}/v1/files/usage`)).body)).quota
}
