import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { apiKey, authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { startModelServer } from '../support/model-server.ts'
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

const otherKey = 'other-key-of-24-characters'
const other = `Bearer ${otherKey}`
const twoKeys = { API_KEYS: `tester:${apiKey},other:${otherKey}` }

let app: TestApp
let lines: Record<string, unknown>[] = []
afterEach(() => app[Symbol.asyncDispose]())

async function start(env: Record<string, string>): Promise<void> {
  lines = []
  app = await startApp({ env, onLog: (line) => void lines.push(JSON.parse(line)) })
}

const form = uploadOf(tinyPng)
const large = uploadOf(pngOfSize(300_000))
const upload = (key: string) => exchange(app.port, uploadHead(form, key), form.body)
/** Whether there is no slot for the first key. Asks with a head alone, which takes none. */
const isFull = async () => {
  const head = uploadHead(form, authorization, { Expect: '100-continue' })
  return (await firstAnswerTo(app.port, head)) === 503
}
/** The limits that the log names, each once. */
const limits = () => new Set(lines.flatMap(({ limit }) => (limit === undefined ? [] : [limit])))

/** A client that keeps its connection, with all that has come back. */
interface Client {
  readonly socket: Socket
  readonly status: () => number | undefined
}

async function send(...pieces: (string | Buffer)[]): Promise<Client> {
  const socket = await openSocket(app.port)
  const got: Buffer[] = []
  socket.on('data', (bytes: Buffer) => got.push(bytes))
  for (const piece of pieces) socket.write(piece)
  const status = () => {
    const all = Buffer.concat(got)
    const isContinue = String(all).startsWith('HTTP/1.1 100')
    return all.length === 0 || (isContinue && all.length < 30) ? undefined : parseResponse(all).status
  }
  return { socket, status }
}

const leave = (clients: readonly Client[]) => {
  for (const { socket } of clients) socket.destroy()
}

const statuses = (clients: readonly Client[]) => clients.map(({ status }) => status())

function count<T>(values: readonly T[], value: T): number {
  return values.filter((each) => each === value).length
}

describe('upload slots', () => {
  test('are not taken by heads alone', async () => {
    await start({ MAX_CONCURRENT_UPLOADS: '1' })
    const plain = Array.from({ length: 20 }, () => send(uploadHead(large, authorization)))
    const polite = Array.from({ length: 20 }, () =>
      send(uploadHead(large, authorization, { Expect: '100-continue' })),
    )
    const clients = await Promise.all([...plain, ...polite])
    // All of them are at their routes: each has been told to go on.
    await eventually(() => clients.slice(20).every(({ socket }) => socket.bytesRead > 0))
    expect((await upload(authorization)).status).toBe(200)
    leave(clients)
  })

  test('256 dripping uploads of one key leave half of them to other keys', async () => {
    await start({ ...twoKeys, MAX_CONCURRENT_UPLOADS: '256' })
    const clients = await Promise.all(
      Array.from({ length: 256 }, () => send(uploadHead(large, authorization), large.body.subarray(0, 10))),
    )
    await eventually(() => count(statuses(clients), 503) === 128)
    for (const { socket } of clients) socket.write('.')
    expect((await upload(authorization)).status).toBe(503)
    expect((await upload(other)).status).toBe(200)
    expect(limits()).toEqual(new Set(['MAX_KEY_SHARE']))
    leave(clients)
    await eventually(async () => (await upload(authorization)).status === 200)
  })

  test('are all there for the only key, and for any key with MAX_KEY_SHARE=100%', async () => {
    for (const env of [{}, { ...twoKeys, MAX_KEY_SHARE: '100%' }]) {
      await start({ ...env, MAX_CONCURRENT_UPLOADS: '4' })
      const clients = await Promise.all(
        Array.from({ length: 4 }, () => send(uploadHead(large, authorization), large.body.subarray(0, 10))),
      )
      await eventually(isFull)
      expect(statuses(clients)).toEqual([undefined, undefined, undefined, undefined])
      expect(limits()).toEqual(new Set(['MAX_CONCURRENT_UPLOADS']))
      leave(clients)
      await app[Symbol.asyncDispose]()
    }
    await start({})
  })

  test('are of the key that asked for a link, whoever uploads by it, and of fetches by URL', async () => {
    await start({ ...twoKeys, MAX_CONCURRENT_UPLOADS: '2', S3_PRESIGN_ENDPOINT: 'off' })
    const link = async (key: string) => {
      const response = await fetch(`${app.url}/v1/files/uploads/presign`, {
        method: 'POST',
        headers: { authorization: key, 'content-type': 'application/json' },
        body: JSON.stringify({ content_type: 'image/png', size: tinyPng.length }),
      })
      const { pathname, search } = new URL(((await response.json()) as { upload_url: string }).upload_url)
      return requestHead(`PUT ${pathname}${search}`, {
        'Content-Type': 'image/png',
        'Content-Length': tinyPng.length,
      })
    }
    const byLink = await send(await link(authorization), tinyPng.subarray(0, 10))
    await eventually(isFull)
    const { status } = await fetch(`${app.url}/v1/files/uploads/url`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: '{"url":"https://example.com/a.png"}',
    })
    expect(status).toBe(503)
    expect((await exchange(app.port, await link(authorization), tinyPng)).status).toBe(503)
    expect((await exchange(app.port, await link(other), tinyPng)).status).toBe(200)
    byLink.socket.write(tinyPng.subarray(10))
    await eventually(() => byLink.status() === 200)
  })

  test('taken by others between head and body: the rest is refused, and all are free again', async () => {
    await start({ MAX_CONCURRENT_UPLOADS: '2' })
    for (let round = 0; round < 3; round += 1) {
      const head = uploadHead(large, authorization, { Expect: '100-continue' })
      const clients = await Promise.all(Array.from({ length: 6 }, () => send(head)))
      await eventually(() => clients.every(({ socket }) => socket.bytesRead > 0))
      for (const { socket } of clients) socket.write(large.body.subarray(0, 200_000))
      await eventually(() => count(statuses(clients), 503) === 4)
      const [first, second] = clients.filter(({ status }) => status() === undefined)
      first?.socket.write(large.body.subarray(200_000))
      await eventually(() => first?.status() === 200)
      second?.socket.destroy()
      // Those that were refused and have not read it, or go on, hold nothing either.
      for (const { socket } of clients) socket.write('more')
      await eventually(async () => (await upload(authorization)).status === 200)
      leave(clients)
    }
    await eventually(async () => (await app.files()).every((name) => !name.endsWith('.part')))
  })

  test('of a body without a byte are taken at its end, and given back', async () => {
    await start({ MAX_CONCURRENT_UPLOADS: '1' })
    for (let round = 0; round < 3; round += 1) {
      const empty = { contentType: form.contentType, body: Buffer.of() }
      expect((await exchange(app.port, uploadHead(empty, authorization))).status).toBe(400)
    }
    expect((await upload(authorization)).status).toBe(200)
  })

  const files = '/v1/files/uploads'
  const json = 'application/json'
  const bodies = {
    'POST /api/upload': [form.contentType, form.body],
    [`POST ${files}`]: [form.contentType, form.body],
    [`POST ${files}/base64`]: [json, `{"data":"${tinyPng.toString('base64')}"}`],
    [`POST ${files}/url`]: [json, '{"url":"https://example.com/a.png"}'],
  } as const

  test.each(Object.keys(bodies))(
    '%s is 503, and nothing else, when the last one goes before its body comes',
    async (line) => {
      await start({ MAX_CONCURRENT_UPLOADS: '1' })
      const [type, body] = bodies[line as keyof typeof bodies] ?? ['', '']
      const headers = { Authorization: authorization, 'Content-Type': type, 'Content-Length': body.length }
      const late = await send(requestHead(line, { ...headers, Expect: '100-continue' }))
      await eventually(() => late.socket.bytesRead > 0)
      const first = await send(uploadHead(large, authorization), large.body.subarray(0, 10))
      await eventually(isFull)
      late.socket.write(body)
      await eventually(() => late.status() === 503)
      first.socket.write(large.body.subarray(10))
      await eventually(() => first.status() === 200)
      expect((await upload(authorization)).status).toBe(200)
    },
  )
})

describe('relay slots', () => {
  const head = (key: string) =>
    requestHead('POST /v1/chat/completions', {
      ...{ Authorization: key, 'Content-Type': 'application/json', 'Content-Length': 100_000_000 },
    })

  test('one key that drips bytes into many calls leaves a share to other keys, and heads alone take none', async () => {
    await using model = await startModelServer()
    await start({ ...twoKeys, VISION_UPSTREAM_URL: model.url, VISION_MAX_CONCURRENT: '8' })
    const models = async (authorization: string) =>
      (await fetch(`${app.url}/v1/models`, { headers: { authorization } })).status
    const silent = await Promise.all(Array.from({ length: 20 }, () => send(head(authorization))))
    const clients = await Promise.all(Array.from({ length: 8 }, () => send(head(authorization), '{')))
    await eventually(() => count(statuses(clients), 503) === 4)
    expect(statuses(silent)).toEqual(silent.map(() => undefined))
    expect(await models(other)).toBe(200)
    expect(await models(authorization)).toBe(503)
    expect(limits()).toEqual(new Set(['MAX_KEY_SHARE']))
    leave(clients)
    await eventually(async () => (await models(authorization)) === 200)
    leave(silent)
  })

  test('of calls whose clients leave at any moment are free again', async () => {
    await using model = await startModelServer()
    await start({ VISION_UPSTREAM_URL: model.url, VISION_MAX_CONCURRENT: '2' })
    for (let round = 0; round < 5; round += 1) {
      const stages = [[], ['{'], ['{"x":"', Buffer.alloc(100_000, 120)]]
      const clients = await Promise.all(stages.map((pieces) => send(head(authorization), ...pieces)))
      leave(clients)
    }
    const models = () => fetch(`${app.url}/v1/models`, { headers: { authorization } })
    await eventually(async () => (await Promise.all([models(), models()])).every(({ ok }) => ok))
    // More than there are would show one that was given back twice.
    const clients = await Promise.all([1, 2, 3].map(() => send(head(authorization), '{')))
    await eventually(() => count(statuses(clients), 503) === 1)
    expect(limits()).toEqual(new Set(['VISION_MAX_CONCURRENT']))
    leave(clients)
  })
})

test('the log line of a request says which limit was met', async () => {
  await start({ MAX_MEMORY: '1MB' })
  const clients = await Promise.all(
    [1, 2, 3, 4].map(() => send(uploadHead(large, authorization), large.body.subarray(0, 10))),
  )
  await eventually(isFull)
  expect((await upload(authorization)).status).toBe(503)
  const found = () => lines.find(({ msg, code }) => msg === 'request' && code === 'server_busy')
  await eventually(() => found() !== undefined)
  expect(found()).toMatchObject({ status: 503, limit: 'MAX_MEMORY' })
  // A refusal because of load is a warning without a stack.
  const [warning] = lines.filter(({ level }) => level === 40)
  expect(warning).toMatchObject({ msg: 'server_busy', limit: 'MAX_MEMORY' })
  expect(warning).not.toHaveProperty('err')
  leave(clients)
})
