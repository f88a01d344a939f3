import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize } from '../support/images.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'

let model: ModelServer
let app: TestApp
beforeAll(async () => {
  model = await startModelServer()
  app = await startApp({
    env: {
      ...{ VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: 'sk-x', VISION_TIMEOUT: '4s' },
      ...{ IDLE_TIMEOUT: '1s', VISION_MAX_CONCURRENT: '3' },
    },
  })
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  // All that was ever opened has been closed.
  await vi.waitFor(() => expect(model.open).toBe(0))
  await model[Symbol.asyncDispose]()
})
afterEach(() => {
  model.answer = undefined
  model.take = undefined
  model.calls.length = 0
})

interface AskOptions {
  readonly signal?: AbortSignal
  readonly to?: TestApp
  readonly path?: string
}

function ask(body: object = {}, { signal, to = app, path = '/v1/chat/completions' }: AskOptions = {}) {
  return fetch(to.url + path, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  })
}

const codeOf = async (answer: Response) => ({
  status: answer.status,
  code: ((await answer.json()) as { error: { code: string } }).error.code,
})

/** No connection to the model's server but those that wait to be used again, and no file. */
async function nothingLeft(): Promise<void> {
  await vi.waitFor(async () => expect(await app.files()).toEqual([]))
  // Those that wait to be used again do so for some seconds.
  await vi.waitFor(() => expect(model.open).toBeLessThanOrEqual(3))
  // A call takes a place, of which there are three: a fourth in a row shows that they were given back.
  model.answer = undefined
  model.take = undefined
  for (let call = 0; call < 4; call += 1) expect((await ask({ messages: [] })).status).toBe(200)
}

describe('an answer that streams', () => {
  test('comes token by token: the next is not sent before the one before has arrived', async () => {
    const next = Promise.withResolvers<void>()
    const headers = Promise.withResolvers<void>()
    model.answer = async (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
      await headers.promise
      response.write('data: one\n\n')
      await next.promise
      response.end('data: two\n\n')
    }
    const answer = await ask({ stream: true })
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    headers.resolve()
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
    expect((await reader?.read())?.value).toBe('data: one\n\n')
    next.resolve()
    expect((await reader?.read())?.value).toBe('data: two\n\n')
    expect((await reader?.read())?.done).toBe(true)
  })

  test('may pause for longer than an idle connection is kept', async () => {
    model.answer = async (response) => {
      await sleep(2000)
      response.writeHead(200).write('one ')
      await sleep(2500)
      response.end('two')
    }
    expect(await (await ask()).text()).toBe('one two')
  })

  test('is passed on byte for byte, be it SSE or not what it says it is', async () => {
    const broken = Buffer.from('data: {"a":\n\ndata\xff: [DONE]\r\r\nevent', 'latin1')
    model.answer = (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(broken)
    expect(Buffer.from(await (await ask()).arrayBuffer())).toEqual(broken)
    model.answer = (response) =>
      response.writeHead(200, { 'content-encoding': 'br', 'content-length': 1 }).end('x')
    const socket = connect(app.port, '127.0.0.1')
    socket.write(
      `POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\n` +
        'Content-Length: 2\r\nConnection: close\r\n\r\n{}',
    )
    const text = Buffer.concat(await Array.fromAsync(socket)).toString('latin1')
    expect(text).toMatch(/^HTTP\/1.1 200 .*content-encoding: br.*\r\n\r\nx$/is)
  })
})

describe('the model’s server', () => {
  test.each([
    [429, { 'retry-after': '7' }],
    [500, {}],
    [400, { 'x-should-retry': 'false' }],
    [529, {}],
  ])('may answer %i, which is passed on with its headers and text', async (status, headers) => {
    const text = '{"error":{"message":"theirs","type":"x","code":null}}'
    model.answer = (response) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
    const answer = await ask()
    expect({
      status: answer.status,
      ...Object.fromEntries(answer.headers),
      text: await answer.text(),
    }).toMatchObject({
      ...{ status, text, 'content-type': 'application/json' },
      ...headers,
    })
    await nothingLeft()
  })

  test('that does not begin to answer is given up, and its call ended', async () => {
    const ended = Promise.withResolvers<void>()
    model.answer = (response) => response.once('close', () => ended.resolve())
    expect(await codeOf(await ask())).toEqual({ status: 504, code: 'vision_upstream_timeout' })
    await ended.promise
    await nothingLeft()
  })

  test('that stops in the middle is given up, and the answer cut: it does not look whole', async () => {
    model.answer = (response) => response.writeHead(200).write('one')
    await expect((await ask()).text()).rejects.toThrow()
    await nothingLeft()
  })

  test.each([
    ['chunks', {}],
    ['a length', { 'content-length': '100' }],
  ])('that breaks off an answer in %s breaks ours off, too', async (_how, headers) => {
    model.answer = (response) => {
      response.writeHead(200, headers).write('one')
      setTimeout(() => response.socket?.destroy(), 100)
    }
    await expect((await ask()).text()).rejects.toThrow()
    await nothingLeft()
  })

  test.each<[string, (typeof model)['take']]>([
    ['breaks off before it answers', (request) => request.socket.destroy()],
    ['answers with nonsense', (_request, response) => response.socket?.end('SSH-2.0-OpenSSH_9\r\n\r\n')],
    ['answers with a status that there is not', (_request, response) => response.writeHead(999).end()],
    ['redirects', (_request, response) => response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end()],
  ])('that %s cannot be used', async (_how, take) => {
    model.take = take
    expect(await codeOf(await ask())).toEqual({ status: 502, code: 'vision_upstream_unreachable' })
    await nothingLeft()
  })

  test('that is not there cannot be used, said in the shape that the address speaks', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as AddressInfo
    closed.close()
    await using alone = await startApp({ env: { VISION_UPSTREAM_URL: `http://127.0.0.1:${port}/v1` } })
    expect(await codeOf(await ask({}, { to: alone }))).toEqual({
      status: 502,
      code: 'vision_upstream_unreachable',
    })
    const answer = await ask({}, { to: alone, path: '/v1/messages' })
    expect(await answer.json()).toMatchObject({ type: 'error', error: { type: 'api_error' } })
  })

  test('may answer before it has read a large request, and leave the rest', async () => {
    const form = new FormData()
    form.append('file', new Blob([new Uint8Array(pngOfSize(15 * 1024 ** 2))]), 'x.png')
    const uploaded = await fetch(`${app.url}/v1/files/uploads`, {
      method: 'POST',
      headers: { authorization },
      body: form,
    })
    const { id, url } = (await uploaded.json()) as { id: string; url: string }
    const body = { messages: [{ content: [{ image_url: { url } }] }] }
    model.take = (_request, response) => response.writeHead(413, { 'content-length': '4' }).end('much')
    const answer = await ask(body)
    expect({ status: answer.status, text: await answer.text() }).toEqual({ status: 413, text: 'much' })
    model.take = (request) => {
      request.once('data', () => request.socket.destroy())
    }
    expect((await ask(body)).status).toBe(502)
    await fetch(`${app.url}/v1/files/uploads/${id}`, { method: 'DELETE', headers: { authorization } })
    await nothingLeft()
  })
})

describe('a client that leaves', () => {
  /** Whose calls the upstream's own limit does not end in time. */
  let patient: TestApp
  beforeAll(async () => {
    patient = await startApp({ env: { VISION_UPSTREAM_URL: model.url, IDLE_TIMEOUT: '1s' } })
  })
  afterAll(async () => await patient[Symbol.asyncDispose]())

  test('before the answer begins ends the call', async () => {
    const gone = new AbortController()
    const ended = Promise.withResolvers<void>()
    model.answer = (response) => {
      response.once('close', () => ended.resolve())
      gone.abort()
    }
    await expect(ask({}, { signal: gone.signal, to: patient })).rejects.toThrow()
    await ended.promise
    await nothingLeft()
  })

  test('in the middle of the answer ends the call, though no token comes any more', async () => {
    const gone = new AbortController()
    const ended = Promise.withResolvers<void>()
    model.answer = (response) => {
      response.once('close', () => ended.resolve())
      response.writeHead(200).write('one')
    }
    const answer = await ask({}, { signal: gone.signal, to: patient })
    await answer.body?.getReader().read()
    gone.abort()
    await ended.promise
    await nothingLeft()
  })

  test('in the middle of its request leaves nothing, and the model is not called', async () => {
    const socket = connect(app.port, '127.0.0.1')
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\n` +
        `Content-Length: 3000000\r\n\r\n{"x":"${'x'.repeat(1_000_000)}`,
    )
    await vi.waitFor(async () => expect(await app.files()).toHaveLength(1))
    socket.destroy()
    await nothingLeft()
    expect(model.calls.filter(({ body }) => body.includes('xxx'))).toEqual([])
  })

  test('or rather stays and does not read is cut off, and the model’s server with it', async () => {
    const ended = Promise.withResolvers<void>()
    model.answer = (response) => {
      response.once('close', () => ended.resolve())
      response.writeHead(200)
      const fill = () => {
        while (response.write(Buffer.alloc(65_536)));
      }
      response.on('drain', fill)
      fill()
    }
    const socket = connect(patient.port, '127.0.0.1').pause()
    socket.on('error', () => {})
    socket.write(
      `POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\n` +
        'Content-Length: 2\r\n\r\n{}',
    )
    await ended.promise
    socket.destroy()
    await nothingLeft()
  })
})

test('calls beyond VISION_MAX_CONCURRENT are told to come again', async () => {
  const held: (() => void)[] = []
  model.answer = (response) => held.push(() => response.end('done'))
  const calls = [ask(), ask(), ask()]
  await vi.waitFor(() => expect(held).toHaveLength(3))
  const refused = await ask()
  expect(refused.headers.get('retry-after')).toBe('5')
  expect(await codeOf(refused)).toEqual({ status: 503, code: 'server_busy' })
  for (const release of held) release()
  for (const call of calls) expect(await (await call).text()).toBe('done')
})

test('the key’s other requests go on while calls wait: they take no place of an upload', async () => {
  await using single = await startApp({
    env: { VISION_UPSTREAM_URL: model.url, MAX_CONCURRENT_UPLOADS: '1' },
  })
  let release = () => {}
  const waiting = new Promise<void>((resolve) => {
    model.answer = (response) => {
      release = () => response.end()
      resolve()
    }
  })
  const call = ask({}, { to: single })
  await waiting
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(pngOfSize(100))]), 'x.png')
  const uploaded = await fetch(`${single.url}/v1/files/uploads`, {
    method: 'POST',
    headers: { authorization },
    body: form,
  })
  expect(uploaded.status).toBe(200)
  release()
  await call
})
