import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { eventually, exchange, openSocket, parseResponse, requestHead } from '../support/socket.ts'

const MiB = 1024 ** 2

async function pathOfNew(app: TestApp, bytes: Buffer): Promise<string> {
  const form = uploadOf(bytes)
  const response = await fetch(`${app.url}/api/upload`, {
    method: 'POST',
    headers: { authorization, 'content-type': form.contentType },
    body: new Uint8Array(form.body),
  })
  return new URL(((await response.json()) as { data: string }).data).pathname
}

/** Reads about a megabyte a second, to the end or until it is cut off. */
async function readSlowly(port: number, path: string): Promise<Buffer> {
  const socket = await openSocket(port)
  socket.write(requestHead(`GET ${path}`))
  const chunks: Buffer[] = []
  for await (const chunk of socket.iterator({ destroyOnReturn: true })) {
    chunks.push(chunk as Buffer)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return Buffer.concat(chunks)
}

async function openStalled(port: number, path: string): Promise<Socket> {
  const socket = await openSocket(port)
  socket.pause()
  socket.write(requestHead(`GET ${path}`))
  return socket
}

describe.concurrent('a client that reads an image slowly', () => {
  const large = pngOfSize(60 * MiB)
  const medium = pngOfSize(8 * MiB)

  test('is cut off if it takes less than MIN_READ_RATE, though it never stops', async () => {
    const lines: string[] = []
    const env = { MAX_FILE_SIZE: '64MB', MIN_READ_RATE: '100MB', IDLE_TIMEOUT: '4s' }
    await using app = await startApp({ env, onLog: (line) => lines.push(line) })
    const received = await readSlowly(app.port, await pathOfNew(app, large))
    expect(parseResponse(received).status).toBe(200)
    expect(received.length).toBeLessThan(large.length)
    await eventually(() => lines.some((line) => line.includes('more slowly than MIN_READ_RATE')))
  })

  test.each([
    { from: 'a file', bytes: medium, times: 0 },
    // One write of all of it, of which Node says nothing before its end.
    { from: 'memory', bytes: medium, times: 3 },
  ])('gets every byte from $from if it is not too slow', async ({ bytes, times }) => {
    const env = { MIN_READ_RATE: '10KB', IDLE_TIMEOUT: '4s', CACHE_SIZE: '128MB' }
    await using app = await startApp({ env })
    const path = await pathOfNew(app, bytes)
    for (let time = 0; time < times; time += 1) await (await fetch(app.url + path)).arrayBuffer()
    const { body } = parseResponse(await readSlowly(app.port, path))
    expect(body.equals(bytes)).toBe(true)
  })
})

describe('clients that do not read', () => {
  let log = ''
  let app: TestApp
  let produced = 0
  beforeAll(async () => {
    // A quarter of this is for readers: two of them, and no third.
    app = await startApp({
      onLog: (line) => {
        log += line
      },
      env: { MAX_MEMORY: '2MB', CACHE_SIZE: '0' },
      wrap: (store) => ({
        ...store,
        async open(key, options) {
          const opened = await store.open(key, options)
          if (opened.size !== 5 * MiB) return opened
          opened.body.destroy()
          return { size: opened.size, body: Readable.from(inSmallChunks(opened.size)) }
        },
      }),
    })
  })
  afterAll(() => app[Symbol.asyncDispose]())

  function* inSmallChunks(size: number) {
    for (produced = 0; produced < size; produced += 4096) yield Buffer.alloc(4096)
  }

  test('stop the reading of their image, and less than 32 KB of it wait', async () => {
    const path = await pathOfNew(app, pngOfSize(5 * MiB))
    const accepted = new Promise<Socket>((resolve) => app.server.once('connection', resolve))
    const client = await openStalled(app.port, path)
    const socket = await accepted
    let before = -1
    await eventually(async () => {
      const isSame = produced === before && produced > 0
      before = produced
      await new Promise((resolve) => setTimeout(resolve, 200))
      return isSame
    })
    expect(produced).toBeLessThan(5 * MiB)
    expect(socket.writableLength).toBeLessThan(32 * 1024)
    client.destroy()
  })

  test('are followed by 503 for new ones once they hold their part of MAX_MEMORY, until they leave', async () => {
    const [path, small] = [await pathOfNew(app, pngOfSize(20 * MiB)), await pathOfNew(app, pngOfSize(50_000))]
    const stalled = await Promise.all(Array.from({ length: 5 }, () => openStalled(app.port, path)))
    const ask = (path: string) => exchange(app.port, requestHead(`GET ${path}`))
    await eventually(async () => (await ask(path)).status === 503)
    const { headers, body } = await ask(path)
    expect(headers).toMatchObject({ 'retry-after': '5', 'cache-control': 'no-store' })
    expect(headers).toMatchObject({ 'content-type': 'application/json; charset=utf-8' })
    expect(headers).not.toHaveProperty('etag')
    expect(JSON.parse(String(body)).error.code).toBe('server_busy')
    await eventually(() => log.includes('"code":"server_busy","limit":"slow_readers","msg":"request"'))
    // A small image is in a buffer of a pool that has a bound of its own.
    expect((await ask(small)).status).toBe(200)
    expect((await exchange(app.port, requestHead(`HEAD ${path}`))).status).toBe(200)
    for (const socket of stalled) socket.destroy()
    await eventually(async () => (await ask(path)).status === 200)
  })
})

test('whoever has stored an image is told so, and may not read a data URL, while slow readers hold too much', async () => {
  await using app = await startApp({ env: { MAX_MEMORY: '2MB', CACHE_SIZE: '0' } })
  const large = await pathOfNew(app, pngOfSize(20 * MiB))
  const stalled = await Promise.all(Array.from({ length: 5 }, () => openStalled(app.port, large)))
  await eventually(async () => (await exchange(app.port, requestHead(`GET ${large}`))).status === 503)
  const path = await pathOfNew(app, pngOfSize(50_000))
  const id = `file_${path.split('/').at(-1)?.split('.')[0]}`
  const dataUrl = requestHead(`GET /v1/files/uploads/${id}/data-url`, { Authorization: authorization })
  expect((await exchange(app.port, dataUrl)).status).toBe(503)
  for (const socket of stalled) socket.destroy()
  await eventually(async () => (await exchange(app.port, dataUrl)).status === 200)
})
