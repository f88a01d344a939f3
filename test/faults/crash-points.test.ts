import { readdir, rm, rmdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { imagePath, parseName } from '../../src/name.ts'
import { shardOf } from '../../src/store/shards.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { canTrace, trace } from '../support/strace.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

/** The folder of all shards. */
const ROOT_SYNCED = /fsync\(\d+<[^>]*\/images>\) += 0/

const ENV = { ...OWN_KEY, MIN_FREE_SPACE: '0', SWEEP_INTERVAL: '0', LIFETIME: '1h' }

describe.skipIf(!canTrace)('a kill at an exact point of an upload', () => {
  let folder: TempFolder
  let server: ServerProcess
  beforeAll(async () => {
    folder = await tempFolder()
    server = await startServer({ dataDir: folder.path, env: ENV })
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  async function upload(image: Buffer, point: string) {
    await using _ = await trace(server.pid, [`--inject=${point}:signal=KILL`])
    await expect(WAYS.base64(server.url, image)).rejects.toThrow()
    expect(await server.stop('SIGTERM')).toMatchObject({ signal: 'SIGKILL' })
  }

  // The signal comes before the call that it is for.
  test.each([
    { point: 'fdatasync', when: 'before its bytes are synced', isThere: false },
    { point: '?link,?linkat', when: 'between the sync of its bytes and its name', isThere: false },
    { point: 'fsync', when: 'between its name and the sync of its folder', isThere: true },
    { point: '?unlink,?unlinkat', when: 'between the sync of its folder and its answer', isThere: true },
  ])('$when leaves nothing, or a whole image that nobody was told of', async ({ point, isThere }) => {
    for (const image of [tinyPng, pngOfSize(600_000)]) {
      await upload(image, point)
      server = await startServer({ dataDir: folder.path, env: ENV })
      const names = await server.files()
      expect(names).toHaveLength(isThere ? 1 : 0)
      for (const name of names) {
        const path = imagePath(parseName(name) ?? expect.unreachable('not an image'))
        const { status, body } = await call(`${server.url}/uploads/${path}`)
        expect({ status, hash: sha256(body) }).toEqual({ status: 200, hash: sha256(image) })
        const id = `file_${basename(name, '.png')}`
        expect((await call(`${server.url}/v1/files/uploads/${id}`, { method: 'DELETE' })).status).toBe(200)
      }
    }
  })
})

test.skipIf(!canTrace)('a 200 is sent only when bytes, name and folders are on the disk', async () => {
  await using own = await startServer({ env: ENV })
  await using tracing = await trace(own.pid, ['--trace=write,writev,pwrite64,fdatasync,fsync,?link,?linkat'])
  expect(await WAYS.form(own.url, tinyPng)).toMatchObject({ status: 200 })
  const order = [
    /write\(\d+<[^>]*\.part>.* = 67$/,
    /fdatasync\(\d+<[^>]*\.part>\) += 0/,
    /link(at)?\(.*\.part.*\/images\/.* = 0/,
    /fsync\(\d+<[^>]*\/images\/[0-9a-z]{5}>\) += 0/,
    ROOT_SYNCED,
    /writev?\(\d+<(socket|TCP).*HTTP\/1.1 200/,
  ]
  await eventually(async () => (await tracing.calls()).some((line) => /HTTP\/1.1 200/.test(line)))
  const calls = joined(await tracing.calls())
  const places = order.map((step) => calls.findIndex((line) => step.test(line)))
  expect(places).not.toContain(-1)
  expect(places).toEqual([...places].sort((a, b) => a - b))
})

test.skipIf(!canTrace)(
  'a folder that another process has just made is on the disk before a 200, too, and synced once by each',
  { timeout: 60_000 },
  async () => {
    await using folder = await tempFolder()
    await using one = await startServer({ dataDir: folder.path, env: ENV })
    await using other = await startServer({ dataDir: folder.path, env: ENV })
    await whileShardLasts()
    const upload = async ({ url }: ServerProcess) => (await WAYS.base64(url, tinyPng)).path ?? ''
    /** How often `other` syncs the folder that the shards are in, for an upload. */
    async function rootSyncs(): Promise<number> {
      await using tracing = await trace(other.pid, ['--trace=fsync,write,writev'])
      await upload(other)
      await eventually(async () => (await tracing.calls()).some((line) => /HTTP\/1.1 200/.test(line)))
      const calls = joined(await tracing.calls())
      const answered = calls.findIndex((line) => /HTTP\/1.1 200/.test(line))
      return calls.slice(0, answered).filter((line) => ROOT_SYNCED.test(line)).length
    }

    await upload(one)
    expect(await rootSyncs()).toBe(1)
    expect(await rootSyncs()).toBe(0)
    // Removed with its last image, and made again: the same name, and often the same number on the disk.
    for (const name of await one.files()) await rm(join(folder.path, 'images', shardOf(name), name))
    for (const shard of await readdir(join(folder.path, 'images')))
      await rmdir(join(folder.path, 'images', shard))
    await upload(one)
    expect(await rootSyncs()).toBe(1)
    expect(await rootSyncs()).toBe(0)
  },
)

/** Waits, where the next images would soon come into another folder. */
async function whileShardLasts(): Promise<void> {
  const expiry = () => Date.now() / 1000 + 3600
  await eventually(() => expiry() % 1024 < 1000, 30_000)
}

/** A call that another thread's came into the middle of, in one line again, where it ended. */
function joined(lines: readonly string[]): string[] {
  const begun = new Map<string, string>()
  return lines.flatMap((line) => {
    const [thread = ''] = line.split(' ')
    const start = line.indexOf(' <unfinished ...>')
    if (start !== -1) begun.set(thread, line.slice(0, start))
    if (start !== -1) return []
    const [, rest] = / resumed>(.*)$/.exec(line) ?? []
    return [rest === undefined ? line : `${begun.get(thread)}${rest}`]
  })
}
