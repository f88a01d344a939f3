import { stat } from 'node:fs/promises'
import type { Agent } from 'node:http'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { connections, workersOf } from '../support/crew.ts'
import { pngOfSize } from '../support/images.ts'
import { memoryOf } from '../support/process-facts.ts'
import { canStartRedis, hasRedis, startRedis } from '../support/redis-server.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, openSocket } from '../support/socket.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

vi.setConfig({ testTimeout: 120_000 })

interface Fetches {
  readonly total: number
  readonly fetches: readonly { readonly fetcher: string }[]
}

/** Asks so many times for the headers of an image, a hundred at a time. */
async function headsOf(port: number, path: string, count: number): Promise<void> {
  const socket = await openSocket(port)
  const heads = `HEAD ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(100)
  let answers = 0
  let last = ''
  const arrived = (wanted: number) =>
    new Promise<void>((resolve, reject) => {
      const onData = (chunk: Buffer) => {
        const text = last + chunk.toString('latin1')
        const parts = text.split('HTTP/1.1 200 OK')
        answers += parts.length - 1
        // An answer's first line may be cut.
        last = (parts.at(-1) ?? '').slice(-14)
        if (answers >= wanted) socket.off('data', onData).off('close', reject).pause()
        if (answers >= wanted) resolve()
      }
      socket.on('data', onData).once('close', reject).resume()
    })
  for (let sent = 0; sent < count; sent += 100) {
    socket.write(heads)
    await arrived(sent + 100)
  }
  socket.destroy()
}

const idOf = (path: string) => `file_${path.split('/').at(-1)?.split('.')[0]}`

async function fetchesOf(url: string, path: string, agent?: Agent): Promise<Fetches> {
  const answer = await call(`${url}/v1/files/uploads/${idOf(path)}/fetches`, agent && { agent })
  expect(answer.status).toBe(200)
  return JSON.parse(String(answer.body))
}

async function newImage({ url }: ServerProcess): Promise<string> {
  const { path = '' } = await WAYS.form(url, pngOfSize(3000))
  return path
}

test('two workers have one list, which outlives them', async () => {
  const env = { WORKERS: '2', ...OWN_KEY }
  await using first = await startServer({ env })
  const path = await newImage(first)
  {
    await using agents = await connections(first)
    expect(agents.size).toBe(2)
    const names = ['OpenAI Image Downloader', 'vLLM/0.11.0']
    for (const [i, agent] of [...agents.values()].entries())
      await call(first.url + path, { agent, headers: { 'user-agent': names[i] ?? '' } })
    for (const agent of agents.values()) {
      await eventually(async () => (await fetchesOf(first.url, path, agent)).total === 2)
      const { fetches } = await fetchesOf(first.url, path, agent)
      expect(fetches.map(({ fetcher }) => fetcher).sort()).toEqual(['openai', 'vllm'])
    }
    // Of what a worker has just noted, nothing is lost when all stop.
    await call(first.url + path)
  }
  expect(workersOf(first)).toHaveLength(2)
  expect((await first.stop('SIGTERM')).code).toBe(0)
  await using second = await startServer({ env: OWN_KEY, dataDir: first.dataDir })
  expect((await fetchesOf(second.url, path)).total).toBe(3)
})

test('a flood of fetches takes no more memory, and no more of the disk', async () => {
  await using server = await startServer({ env: OWN_KEY })
  const path = await newImage(server)
  const flood = (count: number) =>
    Promise.all(Array.from({ length: 4 }, () => headsOf(Number(new URL(server.url).port), path, count / 4)))
  await flood(20_000)
  const before = await memoryOf(server.pid)
  await flood(80_000)
  await eventually(async () => (await fetchesOf(server.url, path)).total === 100_000)
  expect((await fetchesOf(server.url, path)).fetches).toHaveLength(100)
  expect((await memoryOf(server.pid)) - before).toBeLessThan(100)
  for (const name of ['receipts.sqlite', 'receipts.sqlite-wal'])
    expect((await stat(join(server.dataDir, name))).size).toBeLessThan(5 * 1024 ** 2)
})

test.skipIf(!hasRedis() || !canStartRedis)(
  'two machines have one list in their Redis, and serve without it',
  async () => {
    const redis = await startRedis()
    try {
      const shared = { ...OWN_KEY, SECRET: 'x'.repeat(40), REDIS_URL: redis.url }
      await using one = await startServer({ env: shared })
      await using two = await startServer({ env: shared, dataDir: one.dataDir })
      const path = await newImage(one)
      for (const { url } of [one, two]) await call(url + path)
      for (const { url } of [one, two]) await eventually(async () => (await fetchesOf(url, path)).total === 2)
      await redis.kill()
      expect((await call(one.url + path)).status).toBe(200)
      await eventually(() => one.output().includes('receipts of fetches cannot be kept'))
      await redis.start()
      // It remembers nothing, but what came meanwhile has waited.
      await eventually(async () => (await fetchesOf(one.url, path)).total === 1, 20_000)
    } finally {
      await redis.stop()
    }
  },
)
