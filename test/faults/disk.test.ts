import { mkdir, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { chargeFor } from '../../src/publish.ts'
import { canMount, type SmallDisk, smallDisk } from '../support/disk.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { call, type Outcome, OWN_KEY, WAYS } from '../support/ways.ts'

// What is noted of fetches would take the little room that a deleted image leaves.
const ENV = { ...OWN_KEY, MIN_FREE_SPACE: '0', SWEEP_INTERVAL: '0', RECEIPTS: 'off' }

let disk: SmallDisk
let server: ServerProcess

async function start(size: { size: string; inodes?: number }, env: Record<string, string> = {}) {
  disk = await smallDisk(size)
  server = await startServer({ dataDir: disk.path, env: { ...ENV, ...env } }).catch(async (error) => {
    await disk[Symbol.asyncDispose]()
    throw error
  })
}

async function stop() {
  await server[Symbol.asyncDispose]()
  await disk[Symbol.asyncDispose]()
}

/** Uploads until one is refused, in these ways in turn. Answers with those that were taken, and the refusal. */
async function fill(
  image: Buffer,
  ways = Object.values(WAYS),
): Promise<{ taken: string[]; refusal: Outcome }> {
  const taken: string[] = []
  for (let sent = 0; sent < 500; sent += 1) {
    const outcome = await ways[sent % ways.length]?.(server.url, image)
    if (outcome?.path === undefined) return { taken, refusal: outcome ?? { status: 0 } }
    taken.push(outcome.path)
  }
  throw new Error('the disk does not fill up')
}

async function expectReadable(paths: readonly string[], image: Buffer) {
  for (const path of paths) {
    const { status, body } = await call(server.url + path)
    expect({ status, hash: sha256(body) }).toEqual({ status: 200, hash: sha256(image) })
  }
}

/** Names of the images, as they stand in their paths: there must be no other file. */
const nameOf = (path: string) => path.split('/').at(-1) ?? ''
const expectNothingBut = async (paths: readonly string[]) =>
  expect((await server.files()).sort()).toEqual(paths.map(nameOf).sort())

function remove(path: string) {
  const id = `file_${nameOf(path).split('.')[0]}`
  return call(`${server.url}/v1/files/uploads/${id}`, { method: 'DELETE' })
}

describe.skipIf(!canMount)('a disk that is full', () => {
  afterEach(stop)

  test.each([
    { what: 'large images', image: pngOfSize(900_000), size: '8m' },
    { what: 'small images', image: pngOfSize(60_000), size: '1m' },
  ])(
    'of $what is 507 and leaves nothing of what it refuses, in every way in; once there is space, it goes on',
    async ({ image, size }) => {
      await start({ size })
      const { taken, refusal } = await fill(image)
      expect(refusal.status).toBe(507)
      for (const way of Object.values(WAYS))
        expect(await way(server.url, image)).toMatchObject({ status: 507 })
      await expectNothingBut(taken)
      await expectReadable(taken, image)

      const [first = '', ...rest] = taken
      expect((await remove(first)).status).toBe(200)
      const { path = '' } = await WAYS.form(server.url, image)
      await expectReadable([path, ...rest], image)
      await expectNothingBut([path, ...rest])
    },
  )

  test('of files rather than bytes is 507 too, and goes on with one fewer', async () => {
    await start({ size: '8m', inodes: 40 })
    const { taken, refusal } = await fill(tinyPng)
    expect(refusal.status).toBe(507)
    await expectNothingBut(taken)
    await expectReadable(taken, tinyPng)
    expect((await remove(taken[0] ?? '')).status).toBe(200)
    expect(await WAYS.base64(server.url, tinyPng)).toMatchObject({ status: 200 })
  })

  test('is not waited for where files run out: fewer than 1 % of the inodes refuse uploads before that', async () => {
    await start({ size: '64m', inodes: 2000 }, { MIN_FREE_SPACE: '1MB' })
    const other = join(disk.path, 'other')
    await mkdir(other)
    const { ffree } = await statfs(disk.path)
    const files = Array.from({ length: ffree - 30 }, (_, i) => join(other, String(i)))
    await Promise.all(files.map((path) => writeFile(path, '')))
    const { taken, refusal } = await fill(tinyPng)
    expect(refusal.status).toBe(507)
    // Each upload may take a folder besides.
    expect((await statfs(disk.path)).ffree).toBeGreaterThan(10)
    const ready = await call(`${server.url}/readyz`)
    expect(ready.status).toBe(200)
    expect(JSON.parse(String(ready.body))).toMatchObject({
      status: 'degraded',
      checks: { space: { status: 'failed' } },
    })
    await expectReadable(taken, tinyPng)
    for (const path of files.slice(0, 100)) await rm(path)
    expect(await WAYS.form(server.url, tinyPng)).toMatchObject({ status: 200 })
  })

  test('takes nothing that cannot be counted, holds no quota for it, and counts again when there is space', async () => {
    await start({ size: '2m' }, { QUOTA: '1GB' })
    // A link's image is counted whether or not it is stored in the end, as it can be sent again.
    const { taken, refusal } = await fill(pngOfSize(60_000), [WAYS.form, WAYS.base64])
    expect([503, 507]).toContain(refusal.status)
    await expectNothingBut(taken)
    for (const path of taken.slice(0, 5)) expect((await remove(path)).status).toBe(200)
    await eventually(async () => (await WAYS.form(server.url, tinyPng)).status === 200)
    const { quota } = JSON.parse(String((await call(`${server.url}/v1/files/usage`)).body))
    expect(quota.used).toBe(60_000 * taken.length + chargeFor(tinyPng.length))
  })

  test('is not waited for: MIN_FREE_SPACE refuses before that, and what is stored is read', async () => {
    await start({ size: '8m' }, { MIN_FREE_SPACE: '4MB' })
    const image = pngOfSize(500_000)
    const { taken, refusal } = await fill(image)
    expect(refusal.status).toBe(507)
    // The one that went below the floor was let in above it.
    expect(taken.length).toBeGreaterThan(6)
    expect(taken.length).toBeLessThan(10)
    await expectReadable(taken, image)
    await expectNothingBut(taken)
    for (const path of taken.slice(0, 2)) await remove(path)
    expect(await WAYS.link(server.url, image)).toMatchObject({ status: 200 })
  })
})

describe.skipIf(!canMount)('a disk that becomes read-only', () => {
  beforeEach(() => start({ size: '8m' }))
  afterEach(stop)

  test('takes no uploads, says so, and goes on serving; when it can be written again, it takes them', async () => {
    const image = pngOfSize(300_000)
    const { path = '' } = await WAYS.form(server.url, image)
    const release = await disk.writeProtect()
    try {
      for (const bytes of [tinyPng, image]) {
        for (const way of Object.values(WAYS))
          expect(await way(server.url, bytes)).toMatchObject({ status: 503 })
      }
      await expectReadable([path], image)
      expect((await call(`${server.url}/readyz`)).status).toBe(503)
      expect((await call(`${server.url}/healthz`)).status).toBe(200)
    } finally {
      await release()
    }
    await expectNothingBut([path])
    expect(await WAYS.form(server.url, image)).toMatchObject({ status: 200 })
    await eventually(async () => (await call(`${server.url}/readyz`)).status === 200)
  })
})
