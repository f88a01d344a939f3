import { Agent } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { authorization } from '../support/app.ts'
import { pngOfSize, sha256 } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, openSocket, parseResponse, uploadHead } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const CONNECTIONS = 16
const HALF_SENT = 4
const ENV = { ...OWN_KEY, MIN_FREE_SPACE: '0', STOP_TIMEOUT: '10s' }

let folder: TempFolder
let server: ServerProcess
beforeEach(async () => {
  folder = await tempFolder()
  server = await startServer({ dataDir: folder.path, env: ENV })
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const image = (client: number, turn: number) =>
  Buffer.concat([pngOfSize(100_000 * (1 + (turn % 4))), Buffer.from(`${client}/${turn}`)])

/** Uploads and reads back on one connection until the server takes no more. Notes each image that was answered 200. */
async function client(number: number, stored: Map<string, string>): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ways = Object.values(WAYS)
  let read = 0
  try {
    for (let turn = 0; turn < 1000; turn += 1) {
      const bytes = image(number, turn)
      const { status, path } = (await ways[turn % ways.length]?.(server.url, bytes, agent)) ?? {}
      expect({ status }).toEqual({ status: 200 })
      if (path) stored.set(path, sha256(bytes))
      const back = await call(server.url + path, { agent })
      expect({ status: back.status, hash: sha256(back.body) }).toEqual({ status: 200, hash: sha256(bytes) })
      read += 1
    }
  } catch (error) {
    // Between two requests a connection may be closed; then there is no answer at all, rather than a wrong one.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
  } finally {
    agent.destroy()
  }
  return read
}

/** An upload of which half has been sent, and the rest when it is told. */
async function halfSent(number: number) {
  const bytes = image(number, 3)
  const form = uploadOf(bytes)
  const socket = await openSocket(Number(new URL(server.url).port))
  socket.write(uploadHead(form, authorization, { Connection: 'keep-alive' }))
  socket.write(form.body.subarray(0, 200_000))
  return async () => {
    socket.write(form.body.subarray(200_000))
    return { hash: sha256(bytes), ...parseResponse(await buffer(socket)) }
  }
}

test('SIGTERM under load loses no upload that was answered, ends each connection in order, and exits 0', {
  timeout: 60_000,
}, async () => {
  const stored = new Map<string, string>()
  const halves = await Promise.all(Array.from({ length: HALF_SENT }, (_, i) => halfSent(CONNECTIONS + i)))
  const clients = Array.from({ length: CONNECTIONS - HALF_SENT }, (_, i) => client(i, stored))
  await eventually(() => stored.size >= 2 * CONNECTIONS, 20_000)

  const begun = performance.now()
  const stopped = server.stop('SIGTERM')
  await eventually(() => server.output().includes('"msg":"stopping"'))
  for (const { status, headers, body, hash } of await Promise.all(halves.map((finish) => finish()))) {
    expect({ status, connection: headers.connection }).toEqual({ status: 200, connection: 'close' })
    stored.set(new URL(JSON.parse(String(body)).data).pathname, hash)
  }
  expect((await Promise.all(clients)).every((read) => read > 0)).toBe(true)
  expect(await stopped).toEqual({ code: 0, signal: null })
  expect(performance.now() - begun).toBeLessThan(12_000)
  expect(server.output()).not.toMatch(/"level":[56]0/)

  await using second = await startServer({ dataDir: folder.path, env: ENV })
  for (const [path, hash] of stored) expect(sha256((await call(second.url + path)).body)).toBe(hash)
  // What was not answered was refused, and has left nothing: its client knows that it has to send it again.
  expect(await second.files()).toHaveLength(stored.size)
})

test('a second SIGTERM ends it at once, and the next start removes what was half done', async () => {
  await halfSent(0)
  await eventually(async () => (await server.files()).length === 1)
  const first = server.stop('SIGTERM')
  await eventually(() => server.output().includes('"msg":"stopping"'))
  await sleep(100)
  const begun = performance.now()
  expect(await server.stop('SIGTERM')).toEqual({ code: 1, signal: null })
  await first
  expect(performance.now() - begun).toBeLessThan(3000)

  await using second = await startServer({ dataDir: folder.path, env: ENV })
  expect(await second.files()).toEqual([])
})
