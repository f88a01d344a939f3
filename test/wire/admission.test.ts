import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import {
  eventually,
  exchange,
  firstAnswerTo,
  openSocket,
  parseResponse,
  requestHead,
  uploadHead,
} from '../support/socket.ts'

let app: TestApp
afterEach(() => app[Symbol.asyncDispose]())

const FILES = '/v1/files/uploads'
const form = uploadOf(tinyPng)
const large = uploadOf(pngOfSize(300_000))

const upload = (key = authorization) => exchange(app.port, uploadHead(form, key), form.body)

/** An upload whose client has been asked for its body, and has not begun to send it. */
async function announce(key = authorization): Promise<Socket> {
  const socket = await openSocket(app.port)
  socket.write(uploadHead(large, key, { Expect: '100-continue' }))
  const first = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
  expect(String(first)).toMatch(/^HTTP\/1.1 100 /)
  return socket
}

/** An upload that has begun and goes on when its socket is told to. */
async function begin(key = authorization): Promise<Socket> {
  const socket = await announce(key)
  socket.write(large.body.subarray(0, 200_000))
  return socket
}

/** Whether there is no slot. Asks with a head alone, which takes none. */
const isFull = async () => {
  const head = uploadHead(form, authorization, { Expect: '100-continue' })
  return (await firstAnswerTo(app.port, head)) === 503
}

async function link(): Promise<string> {
  const response = await fetch(`${app.url}${FILES}/presign`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ content_type: 'image/png', size: tinyPng.length }),
  })
  const url = new URL(((await response.json()) as { upload_url: string }).upload_url)
  return url.pathname + url.search
}

/** The answer to a head whose body waits to be asked for: nothing else comes before it. */
async function answerTo(line: string, type: string) {
  const socket = await openSocket(app.port)
  const headers = { Authorization: authorization, 'Content-Type': type, 'Content-Length': tinyPng.length }
  socket.write(requestHead(line, { ...headers, Expect: '100-continue' }))
  const bytes = await buffer(socket)
  const { status, headers: answered, body } = parseResponse(bytes)
  const isAsked = bytes.includes('100 Continue')
  return { isAsked, status, retryAfter: answered['retry-after'], text: String(body) }
}

describe('with as many uploads as MAX_CONCURRENT_UPLOADS', () => {
  const busy = {
    isAsked: false,
    status: 503,
    retryAfter: expect.stringMatching(/^\d+$/),
    text: expect.stringMatching(/The server is at its limit/),
  }

  test('every way in answers 503 before the body comes, and all else goes on', async () => {
    app = await startApp({ env: { MAX_CONCURRENT_UPLOADS: '2', S3_PRESIGN_ENDPOINT: 'off' } })
    const stored = JSON.parse(String((await upload()).body)).data
    const put = await link()
    const sockets = [await begin(), await begin()]
    await eventually(isFull)
    const answers = await Promise.all([
      answerTo('POST /api/upload', form.contentType),
      answerTo(`POST ${FILES}`, form.contentType),
      answerTo(`POST ${FILES}/base64`, 'application/json'),
      answerTo(`POST ${FILES}/url`, 'application/json'),
      answerTo(`PUT ${put}`, 'image/png'),
    ])
    expect(answers).toEqual([busy, busy, busy, busy, busy])
    // Those without a key learn nothing of it.
    expect((await exchange(app.port, uploadHead(form, 'Bearer wrong'), form.body)).status).toBe(401)
    for (const path of ['/healthz', new URL(stored).pathname, FILES]) {
      const { status } = await fetch(app.url + path, { headers: { authorization } })
      expect({ path, status }).toEqual({ path, status: 200 })
    }
    for (const socket of sockets) socket.destroy()
  })

  const ends: Record<string, (socket: Socket) => void> = {
    'it is stored': (socket) => socket.write(large.body.subarray(200_000)),
    'its client leaves': (socket) => socket.destroy(),
    'its connection is reset': (socket) => socket.resetAndDestroy(),
    'it stalls': () => {},
    'it ends early': (socket) => socket.end(),
    'its form is malformed': (socket) => socket.write(Buffer.alloc(large.body.length - 200_000)),
  }

  test.each(Object.keys(ends))('the place is free again when %s', async (how) => {
    app = await startApp({ env: { MAX_CONCURRENT_UPLOADS: '1', IDLE_TIMEOUT: '1s' } })
    // More often than there are places, so that one that is given back twice would show.
    for (let round = 0; round < 3; round += 1) {
      const socket = await begin()
      await eventually(isFull)
      ends[how]?.(socket)
      await eventually(async () => (await upload()).status === 200)
    }
    const socket = await begin()
    await eventually(isFull)
    socket.destroy()
  })

  test('the place of a client that left is kept as long as its bytes are', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let isPutting = false
    app = await startApp({
      env: { MAX_CONCURRENT_UPLOADS: '1' },
      wrap: (store) => ({
        ...store,
        async put(...call) {
          if (!isPutting) {
            isPutting = true
            await held
          }
          return store.put(...call)
        },
      }),
    })
    const socket = await begin()
    socket.write(large.body.subarray(200_000))
    await eventually(() => isPutting)
    socket.destroy()
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect((await upload()).status).toBe(503)
    release()
    await eventually(async () => (await upload()).status === 200)
  })

  test('0 is for any number', async () => {
    app = await startApp({ env: { MAX_CONCURRENT_UPLOADS: '0' } })
    const sockets = await Promise.all(Array.from({ length: 300 }, () => begin()))
    expect((await upload()).status).toBe(200)
    for (const socket of sockets) socket.destroy()
  })
})

test('with more memory than MAX_MEMORY, uploads beyond a few are 503, and images are served', async () => {
  app = await startApp({ env: { MAX_MEMORY: '1MB' } })
  const path = new URL(JSON.parse(String((await upload()).body)).data).pathname
  const few = [await begin(), await begin(), await begin(), await begin()]
  await eventually(isFull)
  expect(await answerTo(`POST ${FILES}`, form.contentType)).toMatchObject({
    status: 503,
    text: expect.stringContaining('"code":"server_busy"'),
  })
  expect((await fetch(app.url + path)).status).toBe(200)
  expect((await fetch(`${app.url}/healthz`)).status).toBe(200)
  // Or nothing would ever be let in again, as memory is given back only where something goes on.
  for (const socket of few) socket.destroy()
  await eventually(async () => (await upload()).status === 200)
})

test('clients that leave before they are let in give back a place once, however many they are', async () => {
  app = await startApp({ env: { MAX_CONCURRENT_UPLOADS: '2', MIN_FREE_SPACE: '1KB' } })
  const body = JSON.stringify({ data: tinyPng.toString('base64') })
  const headers = { Authorization: authorization, 'Content-Type': 'application/json' }
  for (let round = 0; round < 10; round += 1)
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = await openSocket(app.port)
        socket.write(requestHead(`POST ${FILES}/base64`, { ...headers, 'Content-Length': body.length }))
        socket.resetAndDestroy()
      }),
    )
  await eventually(async () => (await upload()).status === 200)
  const sockets = [await begin(), await begin()]
  await eventually(isFull)
  const answers = await Promise.all(Array.from({ length: 10 }, () => upload()))
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 503))
  for (const socket of sockets) socket.destroy()
})

test('four lists are read at once, others wait for their turn, and those beyond 16 of a key are 503', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let [reading, most] = [0, 0]
  app = await startApp({
    wrap: (store) => ({
      ...store,
      async *list(options) {
        reading += 1
        most = Math.max(most, reading)
        await held
        yield* store.list(options)
        reading -= 1
      },
    }),
  })
  const gone = new AbortController()
  const list = (signal?: AbortSignal) =>
    fetch(app.url + FILES, { headers: { authorization }, ...(signal && { signal }) })
  const first = Array.from({ length: 4 }, () => list())
  await eventually(() => reading === 4)
  // Those that leave while they wait give up their turn.
  const left = Array.from({ length: 5 }, () => list(gone.signal).catch(() => 'left'))
  const others = Array.from({ length: 80 }, () => list())
  const answered: Response[] = []
  for (const answer of others) void answer.then((response) => answered.push(response))
  await eventually(() => answered.length > 0)
  for (const refused of answered) {
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
  }
  expect(await answered[0]?.json()).toMatchObject({ error: { code: 'server_busy' } })
  gone.abort()
  expect(new Set(await Promise.all(left))).toEqual(new Set(['left']))
  release()
  const statuses = (await Promise.all([...first, ...others])).map(({ status }) => status)
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(16 - 5)
  expect(new Set(statuses)).toEqual(new Set([200, 503]))
  expect({ reading, most }).toEqual({ reading: 0, most: 4 })
  expect((await list()).status).toBe(200)
})
