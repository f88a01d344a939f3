import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { eventually, exchange, openSocket, parseResponse, requestHead } from '../support/socket.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { S3_PRESIGN_ENDPOINT: 'off', IDLE_TIMEOUT: '4s' } })
})
afterAll(() => app[Symbol.asyncDispose]())

const SIZE = 200_000
const form = uploadOf(pngOfSize(SIZE))
const FILES = '/v1/files/uploads'

interface Way {
  readonly line: string
  readonly type: string
  readonly body: Buffer
}

const json = (value: unknown) => ({ type: 'application/json', body: Buffer.from(JSON.stringify(value)) })
const ways: Record<string, () => Way | Promise<Way>> = {
  'a form': () => ({ line: 'POST /api/upload', type: form.contentType, body: form.body }),
  base64: () => ({ line: `POST ${FILES}/base64`, ...json({ data: pngOfSize(SIZE).toString('base64') }) }),
  'an order of a link': () => ({ line: `POST ${FILES}/presign`, ...json({ filename: 'x'.repeat(60_000) }) }),
  'a PUT to a link': async () => ({ line: await link(), type: 'image/png', body: pngOfSize(SIZE) }),
}

const wayOf = async (name: string): Promise<Way> => (ways[name] as () => Way | Promise<Way>)()

/** The request line of a PUT to a new link. */
async function link(): Promise<string> {
  const { type, body } = json({ content_type: 'image/png', size: SIZE })
  const response = await fetch(`${app.url}${FILES}/presign`, {
    method: 'POST',
    headers: { authorization, 'content-type': type },
    body: new Uint8Array(body),
  })
  const url = new URL(((await response.json()) as { upload_url: string }).upload_url)
  return `PUT ${url.pathname}${url.search}`
}

const headOf = ({ line, type, body }: Way) =>
  requestHead(line, { Authorization: authorization, 'Content-Type': type, 'Content-Length': body.length })

/** Sends a body piece by piece until an answer comes; rejects if none does. */
async function drip(socket: Socket, pieces: Iterable<Buffer>, pause: number) {
  let isAnswered = false
  const answer = buffer(socket).then((bytes) => {
    isAnswered = true
    return parseResponse(bytes)
  })
  for (const piece of pieces) {
    if (isAnswered) break
    socket.write(piece)
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
  return answer
}

const cut = (bytes: Buffer, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))

// As many as run at once.
describe.concurrent('a client that drips', () => {
  test.each(Object.keys(ways))('%s, a few bytes at a time, is told so and leaves nothing', async (name) => {
    const way = await wayOf(name)
    const socket = await openSocket(app.port)
    const begun = performance.now()
    socket.write(headOf(way))
    // The form begins fast, and drips only then.
    const fast = name === 'a form' ? 50_000 : 0
    socket.write(way.body.subarray(0, fast))
    const { status, body } = await drip(socket, cut(way.body.subarray(fast, fast + 1000), 5), 100)
    expect({ status, text: String(body) }).toEqual({ status: 408, text: expect.stringMatching(/too slowly/) })
    // Long before UPLOAD_TIMEOUT, which is five minutes.
    expect(performance.now() - begun).toBeLessThan(20_000)
  })

  test('one that is slow, but not too slow, is heard out', async () => {
    const way = await wayOf('a form')
    const socket = await openSocket(app.port)
    socket.write(headOf(way))
    // About 16 KB a second.
    const { status } = await drip(socket, cut(way.body, 1600), 100)
    expect(status).toBe(200)
  })
})

test('nothing is left of those that were refused', async () => {
  await eventually(async () => (await app.files()).filter((name) => name.endsWith('.part')).length === 0)
})

describe('a body in tiny pieces', () => {
  const chunked = (body: Buffer) =>
    Buffer.concat([
      ...cut(body, 1).map((byte) => Buffer.from(`1\r\n${byte.toString('latin1')}\r\n`, 'latin1')),
    ])
  const headers = { Authorization: authorization, 'Transfer-Encoding': 'chunked' }

  test.each(['a form', 'base64'])('is refused once there are far too many of them, as %s', async (name) => {
    const { line, type, body } = await wayOf(name)
    const head = requestHead(line, { ...headers, 'Content-Type': type })
    const answer = await exchange(app.port, head, chunked(body.subarray(0, 80_000)))
    expect(answer.status).toBe(400)
    expect(String(answer.body)).toMatch(/too many tiny pieces/)
  })

  test('is taken as long as it is a small one', async () => {
    const { body, contentType } = uploadOf(tinyPng)
    const head = requestHead('POST /api/upload', { ...headers, 'Content-Type': contentType })
    const answer = await exchange(app.port, head, chunked(body), '0\r\n\r\n')
    expect(answer.status).toBe(200)
  })
})
