import { once } from 'node:events'
import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { imagePath, makeName } from '../../src/name.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { sha256 } from '../support/images.ts'
import { eventually, exchange, openSocket, parseResponse, requestHead } from '../support/socket.ts'
import { bytesOf, inMemory } from '../support/staged.ts'

const START = Date.UTC(2026, 0, 31, 12)
const LIFETIME = 3600

let app: TestApp
let now = START
beforeAll(async () => {
  app = await startApp({ now: () => now, env: { CACHE_SIZE: '16MB' } })
})
afterAll(() => app[Symbol.asyncDispose]())

function nameOf() {
  const created = START / 1000
  const facts = { created, expires: created + LIFETIME, format: 'png', keyId: 'k' } as const
  const name = makeName({ ...facts, secret: Buffer.alloc(32, 7) })
  return { key: name.text, path: `/uploads/${imagePath(name)}` }
}

/** Puts an image into the store, whatever its bytes. */
async function stored(bytes: Buffer) {
  const { key, path } = nameOf()
  await app.store.put(key, inMemory(bytes))
  return { key, path }
}

const connectionsOf = ({ server }: TestApp) =>
  new Promise<number>((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
  })

const ask = (method: string, path: string, headers: Record<string, string> = {}) =>
  exchange(app.port, requestHead(`${method} ${path}`, headers))

function isHeld(key: string): boolean {
  const held = app.store.atHand?.(key)
  held?.done(true)
  return held !== undefined
}

async function keep({ key, path }: { key: string; path: string }) {
  now = START
  for (let i = 0; i < 2; i += 1) expect((await ask('GET', path)).status).toBe(200)
  expect(isHeld(key)).toBe(true)
}

describe('an image that is held in memory', () => {
  const bytes = bytesOf(200_000)
  const etagOf = (key: string) => `"${key}"`

  test.each([
    { what: 'HEAD', method: 'HEAD', headers: () => ({}) },
    { what: 'GET', method: 'GET', headers: () => ({}) },
    { what: 'a range', method: 'GET', headers: () => ({ range: 'bytes=1000-1999' }) },
    { what: 'the last bytes', method: 'GET', headers: () => ({ range: 'bytes=-1' }) },
    { what: 'the whole as a range', method: 'GET', headers: () => ({ range: 'bytes=0-' }) },
    { what: 'a range beyond it', method: 'GET', headers: () => ({ range: 'bytes=200000-' }) },
    { what: 'a range of HEAD', method: 'HEAD', headers: () => ({ range: 'bytes=1-2' }) },
    { what: 'If-None-Match', method: 'GET', headers: (key: string) => ({ 'if-none-match': etagOf(key) }) },
    {
      what: 'If-None-Match of HEAD',
      method: 'HEAD',
      headers: (key: string) => ({ 'if-none-match': etagOf(key) }),
    },
    { what: 'If-Match that fails', method: 'GET', headers: () => ({ 'if-match': '"other"' }) },
    {
      what: 'If-Range of another',
      method: 'GET',
      headers: () => ({ range: 'bytes=1-2', 'if-range': '"other"' }),
    },
  ])('is answered to $what as one that is not', async ({ method, headers }) => {
    const image = await stored(bytes)
    now = START + 1
    const before = await ask(method, image.path, headers(image.key))
    expect(isHeld(image.key)).toBe(false)
    await keep(image)
    now = START + 1
    const after = await ask(method, image.path, headers(image.key))
    const { date: _, 'x-request-id': __, ...lasting } = before.headers
    expect(after).toMatchObject({ status: before.status, headers: lasting })
    // A refusal is text with nothing in it that changes.
    expect(sha256(after.body)).toBe(sha256(before.body))
  })

  test('is gone to the millisecond', async () => {
    const image = await stored(bytes)
    await keep(image)
    now = START + LIFETIME * 1000 - 1
    expect((await ask('GET', image.path)).status).toBe(200)
    now += 1
    for (const method of ['GET', 'HEAD']) expect((await ask(method, image.path)).status).toBe(410)
    expect((await ask('GET', image.path, { 'if-none-match': etagOf(image.key) })).status).toBe(410)
  })

  test('is at no other address', async () => {
    const image = await stored(bytes)
    await keep(image)
    expect((await ask('GET', image.path.replace('/01/', '/02/'))).status).toBe(404)
  })

  test('is not at hand once its owner has deleted it', async () => {
    const image = await stored(bytes)
    await keep(image)
    await app.store.delete(image.key)
    expect((await ask('GET', image.path)).status).toBe(404)
    expect((await ask('HEAD', image.path)).status).toBe(404)
  })
})

/** Asks, and does not read on after the first bytes until told to. */
async function askSlowly(
  path: string,
): Promise<{ readonly socket: Socket; readonly rest: () => Promise<Buffer> }> {
  const socket = await openSocket(app.port)
  socket.write(requestHead(`GET ${path}`))
  await once(socket, 'readable')
  return { socket, rest: async () => parseResponse(await buffer(socket)).body }
}

test('slow readers get their own bytes, though others are served from the same memory meanwhile', async () => {
  now = START
  const images = await Promise.all(
    Array.from({ length: 24 }, async (_, i) => {
      const bytes = Buffer.alloc(1024 ** 2, i + 1)
      return { bytes, ...(await stored(bytes)) }
    }),
  )
  // Each asks for more than the system keeps for it, so that an answer waits in our memory.
  const readers = await Promise.all(
    [0, 8, 16].map(async (first) => {
      const asked = images.slice(first, first + 8)
      const socket = await openSocket(app.port)
      const [last, ...others] = asked.map(({ path }) => path).reverse()
      for (const path of others.reverse())
        socket.write(requestHead(`GET ${path}`, { Connection: 'keep-alive' }))
      socket.write(requestHead(`GET ${last}`))
      await once(socket, 'readable')
      return { socket, asked }
    }),
  )
  for (let round = 0; round < 3; round += 1)
    for (const { path, bytes } of images) expect((await ask('GET', path)).body.equals(bytes)).toBe(true)
  for (const { socket, asked } of readers) {
    let left: Buffer = await buffer(socket)
    for (const { bytes } of asked) {
      const { body } = parseResponse(left)
      expect(sha256(body.subarray(0, bytes.length))).toBe(sha256(bytes))
      left = body.subarray(bytes.length)
    }
  }
})

test('clients that have gone before their image was read keep no memory', async () => {
  now = START
  let isHeldUp = true
  const lent: boolean[] = []
  const { promise: goOn, resolve: go } = Promise.withResolvers<void>()
  await using own = await startApp({
    now: () => now,
    env: { CACHE_SIZE: '0' },
    wrap: (store) => ({
      ...store,
      async open(key, options) {
        if (isHeldUp) await goOn
        const opened = await store.open(key, options)
        lent.push(opened.bytes !== undefined)
        return opened
      },
    }),
  })
  const { key, path } = nameOf()
  await own.store.put(key, inMemory(bytesOf(1024 ** 2)))
  const sockets = await Promise.all(Array.from({ length: 40 }, () => openSocket(own.port)))
  for (const socket of sockets) socket.write(requestHead(`GET ${path}`))
  await eventually(async () => (await connectionsOf(own)) === 40)
  for (const socket of sockets) socket.resetAndDestroy()
  await eventually(async () => (await connectionsOf(own)) === 0)
  isHeldUp = false
  go()
  await eventually(() => lent.length === 40)
  await exchange(own.port, requestHead(`GET ${path}`))
  // A bucket lends nothing.
  expect(lent.at(-1)).toBe(process.env.TEST_STORE === undefined)
})

test('readers that leave half-way take nothing from those that stay', async () => {
  now = START
  const bytes = bytesOf(1024 ** 2)
  const image = await stored(bytes)
  for (let round = 0; round < 4; round += 1) {
    const leaving = await Promise.all(Array.from({ length: 5 }, () => askSlowly(image.path)))
    const staying = ask('GET', image.path)
    for (const { socket } of leaving) socket.destroy()
    expect((await staying).body.equals(bytes)).toBe(true)
  }
})
