import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'
import { uploadOf } from '../support/multipart.ts'
import { openSocket, parseResponses, requestHead, uploadHead } from '../support/socket.ts'

let model: ModelServer
let app: TestApp
const warnings: string[] = []
let requests: { path: string; status: number }[] = []
const sockets: Socket[] = []
beforeAll(async () => {
  model = await startModelServer()
  app = await startApp({
    env: {
      VISION_UPSTREAM_URL: model.url,
      VISION_UPSTREAM_KEY: 'sk-x',
      IDLE_TIMEOUT: '20s',
      UPLOAD_TIMEOUT: '2s',
    },
    onLog: (line) => {
      if (line.includes('"msg":"request')) requests.push(JSON.parse(line))
      else if (line.includes('"level":40')) warnings.push(line)
    },
  })
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await model[Symbol.asyncDispose]()
})
afterEach(() => {
  requests = []
  sockets.length = 0
  model.take = undefined
})

type Headers = Record<string, string | number>

const get = (path: string, headers: Headers = {}) =>
  requestHead(`GET ${path}`, { Connection: 'keep-alive', ...headers })
const last = get('/healthz', { Connection: 'close' })
const upload = (headers: Headers = {}, form = uploadOf(tinyPng)) =>
  uploadHead(form, authorization, { Connection: 'keep-alive', ...headers }) + form.body.toString('latin1')
const statusesIn = (bytes: Buffer) => parseResponses(bytes).map(({ status }) => status)

const slowCall = get('/v1/models', { Authorization: authorization })

/**
 * A request that is passed on to the model's server, which answers when the test says so; `more`
 * comes in the same segment.
 */
async function startSlowCall(to = app, more = '') {
  const { promise, resolve } = Promise.withResolvers<ServerResponse>()
  model.take = (_request, response) => resolve(response)
  to.server.prependOnceListener('connection', (socket: Socket) => sockets.push(socket))
  const client = await openSocket(to.port)
  client.write(slowCall + more)
  const response = await promise
  const [socket] = sockets
  if (socket === undefined) throw new Error('the server has no connection')
  return { client, socket, finish: () => response.end('{"object":"list","data":[]}') }
}

/** Waits until the server has read nothing for a while. */
async function untilQuiet(socket: Socket): Promise<number> {
  let before = -1
  while (socket.bytesRead !== before) {
    before = socket.bytesRead
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return before
}

describe('behind a request that takes its time', () => {
  test('no more is read than some requests, and all are answered when it has ended', async () => {
    const { client, socket, finish } = await startSlowCall()
    const count = 10_000
    client.write(get('/nowhere').repeat(count) + last)
    // What one or two reads bring.
    const read = await untilQuiet(socket)
    expect(read).toBeGreaterThan(get('/nowhere').length * 16)
    expect(read).toBeLessThan(150_000)
    // As Node does when a message has been read, or a response has drained; also within one turn.
    socket.resume()
    expect(await untilQuiet(socket)).toBe(read)
    socket.resume()
    socket.pause()
    expect(await untilQuiet(socket)).toBe(read)
    finish()
    const statuses = statusesIn(await buffer(client))
    expect(statuses).toHaveLength(count + 2)
    expect(new Set(statuses.slice(1, -1))).toEqual(new Set([404]))
    expect([statuses[0], statuses.at(-1)]).toEqual([200, 200])
  })

  test('what a client that leaves has queued is dropped unseen', async () => {
    const { client, socket, finish } = await startSlowCall()
    client.write(upload() + get('/nowhere').repeat(10))
    await untilQuiet(socket)
    client.destroy()
    await vi.waitFor(() => expect(socket.closed).toBe(true))
    await vi.waitFor(() => expect(requests).toHaveLength(1))
    finish()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(requests.map(({ path }) => path)).toEqual(['/v1/models'])
    expect(await app.files()).toEqual([])
  })

  test('a client that leaves while nothing is read from it is noticed when it is answered', async () => {
    const { client, socket, finish } = await startSlowCall()
    client.write(get('/nowhere').repeat(20_000))
    await untilQuiet(socket)
    client.resetAndDestroy()
    finish()
    await vi.waitFor(() => expect(socket.closed).toBe(true))
    expect(requests.length).toBeLessThan(10)
  })

  test('uploads wait like all else, also with a body that is still coming and one that waits to be asked for', async () => {
    const { client, socket, finish } = await startSlowCall()
    const large = upload({}, uploadOf(pngOfSize(1_000_000)))
    const asking = uploadHead(uploadOf(tinyPng), authorization, { Expect: '100-continue' })
    client.write(Buffer.from(get('/nowhere').repeat(20) + large, 'latin1'))
    expect(await untilQuiet(socket)).toBeLessThan(300_000)
    client.write(asking)
    finish()
    let text = ''
    client.on('data', (piece: Buffer) => {
      text += piece.toString('latin1')
      if (!text.endsWith('HTTP/1.1 100 Continue\r\n\r\n')) return
      text = text.slice(0, -'HTTP/1.1 100 Continue\r\n\r\n'.length)
      client.write(uploadOf(tinyPng).body)
    })
    await vi.waitFor(() => expect(client.closed).toBe(true), 5000)
    const statuses = statusesIn(Buffer.from(text, 'latin1'))
    expect(statuses).toEqual([200, ...Array.from({ length: 20 }, () => 404), 200, 200])
    for (const name of await app.files()) await app.store.delete(name)
  })

  test('half a request may wait for longer than it has to arrive: what came before it is answered', async () => {
    const { client, socket, finish } = await startSlowCall()
    client.write(get('/nowhere').repeat(20_000))
    await untilQuiet(socket)
    // UPLOAD_TIMEOUT bounds the time for headers here.
    await new Promise((resolve) => setTimeout(resolve, 3500))
    finish()
    expect(statusesIn(await buffer(client))[0]).toBe(200)
  })

  test('a tunnel is refused by the end of the connection, after the answer under way', async () => {
    const { client, socket, finish } = await startSlowCall()
    client.write(`${get('/nowhere').repeat(30)}CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n`)
    await untilQuiet(socket)
    finish()
    expect(statusesIn(await buffer(client))).toEqual([200])
  })

  test('a server that stops gives the answer under way, and closes', async () => {
    const env = { VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: 'sk-x' }
    await using stopping = await startApp({ env })
    const { client, finish } = await startSlowCall(stopping, get('/nowhere').repeat(5000))
    const stopped = stopping.stop()
    finish()
    const [answer, ...others] = parseResponses(await buffer(client))
    expect(answer).toMatchObject({ status: 200, headers: { connection: 'close' } })
    expect(others).toEqual([])
    await stopped
  })
})

test('a client that reads a large image late gets what it has asked for behind it', async () => {
  const form = uploadOf(pngOfSize(8_000_000))
  const stored = await fetch(`${app.url}/api/upload`, {
    method: 'POST',
    headers: { authorization, 'content-type': form.contentType },
    body: new Uint8Array(form.body),
  })
  const { data } = (await stored.json()) as { data: string }
  const count = 5000
  app.server.prependOnceListener('connection', (socket: Socket) => sockets.push(socket))
  const client = await openSocket(app.port)
  client.write(get(new URL(data).pathname) + get('/nowhere').repeat(count) + last)
  await vi.waitFor(() => expect(sockets).toHaveLength(1))
  expect(await untilQuiet(sockets[0] as Socket)).toBeLessThan(150_000)
  const statuses = statusesIn(await buffer(client))
  expect(statuses).toHaveLength(count + 2)
  expect([statuses[0], statuses[1], statuses.at(-1)]).toEqual([200, 404, 200])
  for (const name of await app.files()) await app.store.delete(name)
})

test('when too much waits on all connections together, the one with the most is closed', async () => {
  const modest = await startSlowCall(app, get('/nowhere').repeat(3) + last)
  const tiny = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
  const greedy: Socket[] = []
  app.server.prependListener('connection', (socket: Socket) => greedy.push(socket))
  const clients = await Promise.all(Array.from({ length: 30 }, () => openSocket(app.port)))
  for (const client of clients) client.write(slowCall + tiny.repeat(3000))
  const closed = () => greedy.filter((socket) => socket.closed).length
  await vi.waitFor(() => expect(closed()).toBeGreaterThan(5), 5000)
  // Each read brings some megabytes.
  expect(greedy.length - closed()).toBeGreaterThan(2)
  expect(warnings.filter((line) => line.includes('pipelined requests wait'))).toHaveLength(1)
  modest.finish()
  expect(statusesIn(await buffer(modest.client))).toEqual([200, 404, 404, 404, 200])
  for (const client of clients) client.destroy()
})
