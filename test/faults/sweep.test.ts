import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { shardOf } from '../../src/store/shards.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, openSocket, parseResponse, requestHead } from '../support/socket.ts'
import { aKey } from '../support/staged.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const EXPIRED = 3000
const ENV = { ...OWN_KEY, MIN_FREE_SPACE: '0', MAX_LIFETIME: '100d' }

let folder: TempFolder
beforeEach(async () => {
  folder = await tempFolder()
})
afterEach(() => folder[Symbol.asyncDispose]())

/** Images that have all expired, in a few folders, beside one that lives. Answers with the name of that one. */
async function fillWithExpired(): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const expired = Array.from({ length: EXPIRED }, (_, i) => aKey({ expires: now - 10 - 3 * i, created: 1 }))
  const alive = aKey({ expires: now + 3600, created: 1 })
  for (const key of [...expired, alive]) {
    const shard = join(folder.path, 'images', shardOf(key))
    await mkdir(shard, { recursive: true })
    await writeFile(join(shard, key), tinyPng)
  }
  return alive
}

/** What each finished sweep of a process says of itself. */
function sweepsOf(server: ServerProcess): { deleted: number; failed: number }[] {
  const lines = server.output().split('\n')
  return lines.filter((line) => line.includes('"msg":"sweep"')).map((line) => JSON.parse(line))
}

describe('a sweep', () => {
  test('of two processes at once deletes all that has expired, and neither fails at what the other did', async () => {
    const alive = await fillWithExpired()
    const start = () => startServer({ dataDir: folder.path, env: ENV })
    const servers = await Promise.all([start(), start()])
    try {
      await eventually(() => servers.every((server) => sweepsOf(server).length > 0), 20_000)
      const swept = servers.flatMap(sweepsOf)
      expect(swept.map(({ failed }) => failed)).toEqual(swept.map(() => 0))
      // What both were at, both may count.
      expect(swept.reduce((sum, { deleted }) => sum + deleted, 0)).toBeGreaterThanOrEqual(EXPIRED)
      for (const server of servers) expect(server.output()).not.toMatch(/"level":[56]0/)
      expect(await servers[0].files()).toEqual([alive])
    } finally {
      for (const server of servers) await server[Symbol.asyncDispose]()
    }
  })

  test('that is under way at SIGTERM holds up nothing, and the next start goes on with it', async () => {
    const alive = await fillWithExpired()
    const server = await startServer({ dataDir: folder.path, env: ENV })
    expect(await server.stop('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(server.output()).not.toMatch(/"level":[56]0/)
    const left = await server.files()
    expect(left).toContain(alive)
    // It was under way.
    expect(left.length).toBeGreaterThan(1)

    await using second = await startServer({ dataDir: folder.path, env: ENV })
    await eventually(() => sweepsOf(second).length > 0, 20_000)
    expect(await second.files()).toEqual([alive])
  })

  test('does not touch a download that is under way when its image goes', async () => {
    const image = pngOfSize(20_000_000)
    const env = { ...ENV, LIFETIME: '2s', SWEEP_INTERVAL: '1s' }
    await using server = await startServer({ dataDir: folder.path, env })
    const { path = '' } = await WAYS.form(server.url, image)
    const socket = await openSocket(Number(new URL(server.url).port))
    socket.write(requestHead(`GET ${path}`))
    const pieces: Buffer[] = []
    for await (const piece of socket) {
      // The first piece is read at once, the others when the file has no name any more.
      if (pieces.length === 0) await eventually(async () => (await server.files()).length === 0)
      pieces.push(piece)
    }
    const { status, body } = parseResponse(Buffer.concat(pieces))
    expect({ status, hash: sha256(body) }).toEqual({ status: 200, hash: sha256(image) })
    expect((await call(server.url + path)).status).toBe(410)
  })
})
