import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { startModelServer } from '../support/model-server.ts'
import { memoryOf, resetPeak } from '../support/process-facts.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { openSocket, requestHead } from '../support/socket.ts'

/** As short as requests are that a client would send in a flood. */
const tiny = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'
const MB = 1_000_000

/**
 * Opens connections that send `first`, then tiny requests until the kernel takes no more or `bytes`
 * are sent, and read nothing.
 */
async function flood(
  { url }: ServerProcess,
  { connections, bytes, first = tiny }: { connections: number; bytes: number; first?: string },
): Promise<Disposable> {
  const port = Number(new URL(url).port)
  const clients: Socket[] = []
  for (let opened = 0; opened < connections; opened += 1) {
    const client = await openSocket(port)
    client.pause()
    client.write(first)
    clients.push(client)
  }
  const piece = Buffer.from(tiny.repeat(2000))
  for (const client of clients) for (let sent = 0; sent < bytes; sent += piece.length) client.write(piece)
  return {
    [Symbol.dispose]() {
      for (const client of clients) client.destroy()
    },
  }
}

/** Asks for /healthz some times. Returns the longest that it took, in milliseconds. */
async function slowestAnswer({ url }: ServerProcess, times: number): Promise<number> {
  let slowest = 0
  for (let asked = 0; asked < times; asked += 1) {
    const begun = performance.now()
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    slowest = Math.max(slowest, performance.now() - begun)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return slowest
}

/** Megabytes that the process has, once it has served some requests. */
async function memoryBefore(server: ServerProcess): Promise<number> {
  for (let asked = 0; asked < 500; asked += 1) await (await fetch(`${server.url}/healthz`)).text()
  await resetPeak(server.pid)
  return memoryOf(server.pid)
}

test('two anonymous connections that pipeline 20 MB of requests and read nothing cost little', async () => {
  await using server = await startServer()
  const before = await memoryBefore(server)
  {
    using _flood = await flood(server, { connections: 2, bytes: 10 * MB })
    expect(await slowestAnswer(server, 40)).toBeLessThan(1000)
  }
  expect(await slowestAnswer(server, 10)).toBeLessThan(1000)
  expect((await memoryOf(server.pid, 'VmHWM')) - before).toBeLessThan(80)
}, 60_000)

test('nor do those of a key whose first request waits for a model', async () => {
  await using model = await startModelServer()
  const first = Promise.withResolvers<void>()
  model.take = () => first.resolve()
  await using server = await startServer({
    env: { VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: 'sk-x' },
  })
  const before = await memoryBefore(server)
  const call = requestHead('GET /v1/models', {
    Authorization: `Bearer ${server.key()}`,
    Connection: 'keep-alive',
  })
  {
    using _flood = await flood(server, { connections: 2, bytes: 10 * MB, first: call })
    await first.promise
    expect(await slowestAnswer(server, 40)).toBeLessThan(1000)
  }
  expect(await slowestAnswer(server, 10)).toBeLessThan(1000)
  expect((await memoryOf(server.pid, 'VmHWM')) - before).toBeLessThan(80)
}, 60_000)

test('nor do a thousand connections with as many as one read takes', async () => {
  await using model = await startModelServer()
  model.take = () => {}
  await using server = await startServer({
    env: { VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: 'sk-x', VISION_MAX_CONCURRENT: '0' },
  })
  const before = await memoryBefore(server)
  const call = requestHead('GET /v1/models', {
    Authorization: `Bearer ${server.key()}`,
    Connection: 'keep-alive',
  })
  {
    using _flood = await flood(server, { connections: 1000, bytes: 65_536, first: call })
    await slowestAnswer(server, 20)
  }
  expect(await slowestAnswer(server, 10)).toBeLessThan(1000)
  expect((await memoryOf(server.pid, 'VmHWM')) - before).toBeLessThan(400)
}, 60_000)
