import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { apiKey } from '../support/app.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY } from '../support/ways.ts'

const METRICS_ADDRESS = '127.0.0.1:0'

async function uploaded(server: ServerProcess) {
  const response = await server.upload('photo.jpg', { key: apiKey })
  const { data } = (await response.json()) as { data: string }
  const header = (name: string) => response.headers.get(name) ?? ''
  return {
    path: new URL(data).pathname,
    id: header('x-layover-id'),
    deleteUrl: header('x-layover-delete-url'),
  }
}

const statusOf = async (server: ServerProcess, path: string) => (await call(server.url + path)).status

/** Has a server keep an image in memory. */
async function keep(server: ServerProcess, path: string) {
  for (let i = 0; i < 3; i += 1) expect(await statusOf(server, path)).toBe(200)
}

async function cacheOf(server: ServerProcess): Promise<{ hits: number; bytes: number }> {
  const line =
    server
      .output()
      .split('\n')
      .find((line) => line.includes('"msg":"metrics"')) ?? '{}'
  const text = await (await fetch(JSON.parse(line).url)).text()
  const value = (name: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(name))
        ?.split(' ')[1],
    )
  return { hits: value('layover_cache_reads_total{result="hit"}'), bytes: value('layover_cache_bytes') }
}

test('of two processes with one DATA_DIR, neither gives out what the other has deleted', {
  timeout: 60_000,
}, async () => {
  await using folder = await tempFolder()
  const start = () =>
    startServer({ dataDir: folder.path, env: { ...OWN_KEY, METRICS_ADDRESS, SWEEP_INTERVAL: '0' } })
  await using one = await start()
  await using two = await start()
  const ways: Record<string, (image: Awaited<ReturnType<typeof uploaded>>) => Promise<unknown>> = {
    key: ({ id }) => call(`${two.url}/v1/files/uploads/${id}`, { method: 'DELETE' }),
    link: ({ deleteUrl }) => {
      const { pathname, search } = new URL(deleteUrl)
      return call(two.url + pathname + search, { method: 'POST' })
    },
  }
  // Whoever removes a file by hand asks nobody.
  if (process.env.TEST_STORE === undefined)
    ways.hand = ({ path }) => {
      const name = basename(path)
      return rm(join(folder.path, 'images', name.slice(0, 5), name))
    }
  for (const [way, remove] of Object.entries(ways)) {
    const image = await uploaded(one)
    for (const server of [one, two]) await keep(server, image.path)
    const { hits } = await cacheOf(one)
    expect({ way, status: await statusOf(one, image.path) }).toEqual({ way, status: 200 })
    expect((await cacheOf(one)).hits).toBe(hits + 1)
    await remove(image)
    for (const server of [one, two])
      expect({ way, status: await statusOf(server, image.path) }).toEqual({ way, status: 404 })
  }
})

test('readers never see an image after its delete was answered, however many read while it goes', {
  timeout: 60_000,
}, async () => {
  await using folder = await tempFolder()
  const start = () => startServer({ dataDir: folder.path, env: { ...OWN_KEY, SWEEP_INTERVAL: '0' } })
  await using one = await start()
  await using two = await start()
  const late: string[] = []
  for (let round = 0; round < 10; round += 1) {
    const { path, id } = await uploaded(two)
    let isOver = false
    let isDeleted = false
    const readers = Array.from({ length: 6 }, async (_, i) => {
      const server = i % 2 ? one : two
      while (!isOver) {
        const wasDeleted = isDeleted
        const status = await statusOf(server, path)
        if (wasDeleted && status !== 404) late.push(`round ${round}: ${status}`)
      }
    })
    await keep(one, path)
    const { status } = await call(`${two.url}/v1/files/uploads/${id}`, { method: 'DELETE' })
    isDeleted = true
    expect(status).toBe(200)
    for (let i = 0; i < 5; i += 1) await statusOf(one, path)
    isOver = true
    await Promise.all(readers)
  }
  expect(late).toEqual([])
})

test('with CACHE_SIZE=0 nothing is kept', async () => {
  await using server = await startServer({ env: { ...OWN_KEY, METRICS_ADDRESS, CACHE_SIZE: '0' } })
  const { path } = await uploaded(server)
  await keep(server, path)
  expect(await cacheOf(server)).toEqual({ hits: 0, bytes: 0 })
  await eventually(async () => (await statusOf(server, path)) === 200)
})
