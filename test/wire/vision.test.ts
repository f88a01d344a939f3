import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { chargeFor } from '../../src/publish.ts'
import { apiKey, authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { type ModelServer, type SeenImage, startModelServer } from '../support/model-server.ts'
import { type Origin, startOrigin } from '../support/remote.ts'

const KEY = 'sk-of-the-operator'

let model: ModelServer
let origin: Origin
let inline: TestApp
let hosting: TestApp
let now = Date.now()
/** Paths that were fetched from the other server. */
const fetched: string[] = []

beforeAll(async () => {
  model = await startModelServer()
  origin = await startOrigin((request, response) => {
    fetched.push(request.url ?? '')
    if (request.url?.split('?')[0] === '/photo.jpg')
      return response.setHeader('content-type', 'image/jpeg').end(fixture('photo.jpg'))
    if (request.url === '/page') return response.setHeader('content-type', 'text/html').end('<html>')
    response.writeHead(403).end()
  })
  const env = { VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: KEY, IDLE_TIMEOUT: '1s' }
  inline = await startApp({ env, now: () => now })
  const rehosting = { VISION_IMAGES: 'url', VISION_REHOST: 'on', URL_FETCH_ALLOW: `127.0.0.1:${origin.port}` }
  hosting = await startApp({ env: { ...env, ...rehosting, QUOTA: '10MB' } })
})
afterAll(async () => {
  await inline[Symbol.asyncDispose]()
  await hosting[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  await model[Symbol.asyncDispose]()
})
afterEach(() => {
  now = Date.now()
  model.calls.length = 0
  fetched.length = 0
  model.answer = undefined
  model.take = undefined
})

const CHAT = '/v1/chat/completions'
const dataUrl = (bytes: Buffer, type = 'image/png') => `data:${type};base64,${bytes.toString('base64')}`
const chatOf = (...urls: unknown[]) => ({
  model: 'stub',
  messages: [{ role: 'user', content: urls.map((url) => ({ type: 'image_url', image_url: { url } })) }],
})

interface AskOptions {
  readonly path?: string
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
}

function ask(app: TestApp, body: object | string, { path = CHAT, headers, signal }: AskOptions = {}) {
  return fetch(app.url + path, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal && { signal }),
  })
}

/** What the model saw of the images, in their order. */
async function shown(answer: Response): Promise<SeenImage[]> {
  const text = await answer.text()
  expect({ status: answer.status, text }).toMatchObject({ status: 200 })
  const { choices, output, content } = JSON.parse(text)
  return JSON.parse(choices?.[0].message.content ?? output?.[0].content[0].text ?? content[0].text)
}

async function refusal(answer: Response): Promise<{ status: number; code: string; message: string }> {
  const { error } = (await answer.json()) as { error: { code: string; message: string } }
  return { status: answer.status, code: error.code, message: error.message }
}

async function upload(
  app: TestApp,
  bytes: Buffer,
  fields: Record<string, string> = {},
): Promise<{ id: string; url: string }> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([new Uint8Array(bytes)]), 'x')
  const answer = await fetch(`${app.url}/v1/files/uploads`, {
    method: 'POST',
    headers: { authorization },
    body: form,
  })
  return (await answer.json()) as { id: string; url: string }
}

const facts = (bytes: Buffer, type: string, how: SeenImage['how']) => ({
  how,
  type,
  size: bytes.length,
  sha256: sha256(bytes),
})

/** The images that there are, once nothing else is there any more. */
async function onlyImages(app: TestApp): Promise<string[]> {
  return vi.waitFor(async () => {
    const files = await app.files()
    expect(files.filter((name) => name.endsWith('.part'))).toEqual([])
    return files.sort()
  })
}

describe('with VISION_IMAGES=inline', () => {
  test.each(photos)(
    'the model gets the bytes of a $format that is stored here',
    async ({ file, mediaType }) => {
      const bytes = fixture(file)
      const { url } = await upload(inline, bytes)
      expect(await shown(await ask(inline, chatOf(url, `${url}?x=1`)))).toEqual([
        facts(bytes, mediaType, 'decoded'),
        facts(bytes, mediaType, 'decoded'),
      ])
    },
  )

  test('an image that is stored here is looked up once, however many times and ways a request names it', async () => {
    const { url } = await upload(inline, tinyPng)
    const lookUps = vi.spyOn(inline.store, 'stat')
    onTestFinished(() => lookUps.mockRestore())
    const urls = Array.from({ length: 100 }, (_, index) => `${url}${index % 2 ? `?x=${index}` : ''}`)
    expect(await shown(await ask(inline, chatOf(...urls)))).toEqual(
      urls.map(() => facts(tinyPng, 'image/png', 'decoded')),
    )
    expect(lookUps).toHaveBeenCalledTimes(1)
  })

  test('a request without images of ours arrives byte for byte, whatever else is in it', async () => {
    const long = 'x'.repeat(300_000)
    const text = ` {"model":"stub","big":12345678901234567890123,"huge":1e400,"a":1,"a":2,"messages":[{"role":"user","content":[
      {"type":"image_url","image_url":{"url":"${dataUrl(tinyPng).replaceAll('/', '\\/')}","detail":"low"}},
      {"type":"text","text":"${long}\\u00e9é"},{"type":"file","file":{"file_data":"data:application/pdf;base64,${long}"}}]}],"source":{"x":[]}} `
    expect((await ask(inline, text)).status).toBe(200)
    expect(model.calls[0]?.body).toBe(text)
    expect(model.calls[0]?.headers['content-length']).toBe(String(Buffer.byteLength(text)))
    expect(model.calls[0]?.headers['transfer-encoding']).toBeUndefined()
  })

  test('nothing but the image changes in a request with one of ours', async () => {
    const { url } = await upload(inline, tinyPng)
    const text = `{"model" : "stub","messages":[{"content":[{"image_url":{"url":"${url}","detail":"low"}}]}],"n":1e400}`
    await ask(inline, text)
    expect(model.calls[0]?.body).toBe(text.replace(url, dataUrl(tinyPng)))
  })

  test('in the shape of responses and of messages, too, which keep the rest of their parts', async () => {
    const { url } = await upload(inline, tinyPng)
    const input = [{ role: 'user', content: [{ type: 'input_image', image_url: url, detail: 'low' }] }]
    const seen = [facts(tinyPng, 'image/png', 'decoded')]
    expect(await shown(await ask(inline, { model: 'stub', input }, { path: '/v1/responses' }))).toEqual(seen)

    const block = (source: object) => ({ type: 'image', source, cache_control: { type: 'ephemeral' } })
    const body = {
      model: 'stub',
      max_tokens: 9,
      messages: [{ role: 'user', content: [block({ type: 'url', url })] }],
    }
    const answer = await ask(inline, body, { path: '/v1/messages?beta=true' })
    expect(await shown(answer)).toEqual(seen)
    const source = { type: 'base64', media_type: 'image/png', data: tinyPng.toString('base64') }
    const expected = { ...body, messages: [{ role: 'user', content: [block(source)] }] }
    expect(model.calls[1]).toMatchObject({ url: '/v1/messages?beta=true', body: JSON.stringify(expected) })
  })

  test('an image of somebody else’s server is left to the model’s', async () => {
    const url = `http://127.0.0.1:${origin.port}/photo.jpg`
    expect(await shown(await ask(inline, chatOf(url)))).toEqual([
      facts(fixture('photo.jpg'), 'image/jpeg', 'fetched'),
    ])
    expect(fetched).toEqual(['/photo.jpg'])
  })

  test('nothing stays of what came with a request', async () => {
    const before = await onlyImages(inline)
    await ask(inline, { ...chatOf(dataUrl(fixture('photo.png'), 'image/png')), pad: 'x'.repeat(500_000) })
    expect(await onlyImages(inline)).toEqual(before)
  })
})

describe('with VISION_IMAGES=url', () => {
  test('the model gets URLs of what came as data, which count for the quota', async () => {
    const usage = async () => {
      const answer = await fetch(`${hosting.url}/v1/files/usage`, { headers: { authorization } })
      return ((await answer.json()) as { quota: { used: number; reserved: number } }).quota
    }
    const { used } = await usage()
    const bytes = fixture('photo.webp')
    expect(await shown(await ask(hosting, chatOf(dataUrl(bytes), dataUrl(tinyPng))))).toEqual([
      facts(bytes, 'image/webp', 'fetched'),
      facts(tinyPng, 'image/png', 'fetched'),
    ])
    expect(await usage()).toMatchObject({ used: used + chargeFor(bytes.length, tinyPng.length), reserved: 0 })
    expect(model.calls[0]?.body).not.toContain('base64')

    const source = { type: 'base64', media_type: 'image/png', data: tinyPng.toString('base64') }
    const messages = [{ role: 'user', content: [{ type: 'image', source }] }]
    expect(await shown(await ask(hosting, { model: 'stub', messages }, { path: '/v1/messages' }))).toEqual([
      facts(tinyPng, 'image/png', 'fetched'),
    ])
    expect(model.calls[1]?.body).toMatch(/"source":\{"type":"url","url":"http[^"]+"\}/)
  })

  test('with VISION_REHOST=on an image of another server is fetched once, and given from here', async () => {
    const url = `http://127.0.0.1:${origin.port}/photo.jpg`
    const seen = facts(fixture('photo.jpg'), 'image/jpeg', 'fetched')
    expect(await shown(await ask(hosting, chatOf(url, url)))).toEqual([seen, seen])
    expect(fetched).toEqual(['/photo.jpg'])
    expect(model.calls[0]?.body).not.toContain(`:${origin.port}/`)
  })

  test('what was hosted for a call that never reached the model is gone, and costs no quota', async () => {
    const before = {
      files: await onlyImages(hosting),
      usage: await hosting.usage.read({ key: await keyId(), window: 86_400, now: Date.now() }),
    }
    const answer = await ask(hosting, chatOf(dataUrl(tinyPng), 'https://127.0.0.2/x.png'))
    expect(await refusal(answer)).toMatchObject({ status: 400, code: 'vision_image_unreachable' })
    model.take = (request) => request.socket.destroy()
    expect(await refusal(await ask(hosting, chatOf(dataUrl(tinyPng))))).toMatchObject({ status: 502 })
    model.take = undefined
    model.answer = (response) =>
      response.writeHead(429, { 'retry-after': '7' }).end('{"error":{"message":"slow"}}')
    expect((await ask(hosting, chatOf(dataUrl(tinyPng)))).status).toBe(429)
    expect(await onlyImages(hosting)).toEqual(before.files)
    expect(await hosting.usage.read({ key: await keyId(), window: 86_400, now: Date.now() })).toEqual(
      before.usage,
    )
  })

  const keyId = async () => (await import('../../src/keys/known.ts')).idOf(apiKey)
})

describe('before the model is called, a request is refused', () => {
  const near = 'messages[0].content[1].image_url.url'
  const second = (url: string) => chatOf(dataUrl(tinyPng), url)

  test('for an image that has expired, with when', async () => {
    const { url } = await upload(inline, tinyPng, { expires_in: '60' })
    now += 61_000
    const found = await refusal(await ask(inline, second(url)))
    expect(found).toMatchObject({ status: 400, code: 'vision_image_expired' })
    expect(found.message).toContain(`The image at ${near} (${url}) expired at 20`)
    expect(model.calls).toEqual([])
  })

  test('for an image that expires while those before it are sent', async () => {
    const { url: first } = await upload(inline, pngOfSize(15 * 1024 ** 2))
    const { url } = await upload(inline, tinyPng, { expires_in: '60' })
    const ended = Promise.withResolvers<boolean>()
    model.take = (request) => {
      request.once('data', () => {
        now += 61_000
        request.resume()
      })
      request.once('close', () => ended.resolve(request.complete))
    }
    const found = await refusal(await ask(inline, chatOf(first, url)))
    expect(found).toMatchObject({ status: 400, code: 'vision_image_expired' })
    expect(found.message).toContain(`The image at ${near} (${url}) expired at 20`)
    expect(await ended.promise).toBe(false)
  })

  test('for images of other servers that are too large together, before all are fetched', async () => {
    const env = { VISION_UPSTREAM_URL: model.url, VISION_MAX_BODY: '100KB', VISION_REHOST: 'on' }
    await using small = await startApp({ env: { ...env, URL_FETCH_ALLOW: `127.0.0.1:${origin.port}` } })
    const urls = Array.from(
      { length: 20 },
      (_, index) => `http://127.0.0.1:${origin.port}/photo.jpg?${index}`,
    )
    expect(await refusal(await ask(small, chatOf(...urls)))).toMatchObject({
      status: 413,
      code: 'vision_body_too_large',
    })
    expect(fetched.length).toBeLessThan(20)
    expect(await onlyImages(small)).toEqual([])
  })

  test.each([
    ['vision_image_unknown', () => `${inline.url.replace('127.0.0.1', 'localhost')}/uploads/2026/01/x.png`],
    ['vision_image_not_an_image', () => dataUrl(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'))],
    ['vision_image_invalid', () => dataUrl(Buffer.from('GIF89a<script>'))],
    ['vision_image_invalid', () => `${dataUrl(tinyPng)} `],
    ['vision_image_invalid', () => 'data:image/png,%89PNG'],
    ['vision_image_too_large', () => dataUrl(Buffer.concat([tinyPng, Buffer.alloc(20 * 1024 ** 2)]))],
    ['vision_image_unreachable', () => 'photo.png'],
    ['vision_image_unreachable', () => 'file:///etc/passwd'],
  ])('with %s', async (code, url) => {
    const found = await refusal(await ask(inline, second(url())))
    expect(found).toMatchObject({ status: 400, code })
    expect(found.message).toContain(`The image at ${near} `)
    expect(model.calls).toEqual([])
  })

  test('for an image that has been deleted, in the shape that Anthropic’s clients read', async () => {
    const { id, url } = await upload(inline, tinyPng)
    await fetch(`${inline.url}/v1/files/uploads/${id}`, { method: 'DELETE', headers: { authorization } })
    const messages = [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url } }] }]
    const answer = await ask(inline, { messages }, { path: '/v1/messages' })
    expect(answer.status).toBe(400)
    expect(await answer.json()).toEqual({
      type: 'error',
      error: {
        type: 'invalid_request_error',
        code: 'vision_image_unknown',
        message: expect.stringContaining(
          `The image at messages[0].content[0].source.url (${url}) is not on this server`,
        ),
      },
    })
    expect(model.calls).toEqual([])
  })

  test.each([
    ['vision_image_unreachable', '/forbidden', 'status 403'],
    ['vision_image_not_an_image', '/page', 'no JPEG'],
  ])('with %s for what another server answers', async (code, path, text) => {
    const found = await refusal(await ask(hosting, second(`http://127.0.0.1:${origin.port}${path}`)))
    expect(found).toMatchObject({ status: 400, code })
    expect(found.message).toContain(text)
  })

  test('for an address inside, whatever it may be, with the guard of uploads by URL', async () => {
    for (const url of [
      'http://127.0.0.1:1/x.png',
      'http://169.254.169.254/latest/meta-data',
      'http://[::1]/x',
    ])
      expect(await refusal(await ask(hosting, second(url)))).toMatchObject({
        status: 400,
        code: 'vision_image_unreachable',
      })
  })

  test('for too many images, a body that is no JSON or none at all, and one that is too large', async () => {
    const many = chatOf(...Array.from({ length: 251 }, () => 'https://x.example/y.png'))
    expect(await refusal(await ask(inline, many))).toMatchObject({
      status: 400,
      code: 'vision_too_many_images',
    })
    expect(await refusal(await ask(inline, '{"messages":'))).toMatchObject({ code: 'json_malformed' })
    const other = { headers: { 'content-type': 'text/plain' } }
    expect(await refusal(await ask(inline, '{}', other))).toMatchObject({
      status: 415,
      code: 'json_expected',
    })

    await using small = await startApp({ env: { VISION_UPSTREAM_URL: model.url, VISION_MAX_BODY: '100KB' } })
    const tooLarge = { status: 413, code: 'vision_body_too_large' }
    expect(await refusal(await ask(small, { pad: 'x'.repeat(102_400) }))).toMatchObject(tooLarge)
    const { url } = await upload(small, fixture('photo.jpg'))
    expect(await refusal(await ask(small, chatOf(url)))).toMatchObject(tooLarge)
    expect(model.calls).toEqual([])
  })
})

describe('keys and headers', () => {
  test('the operator’s key goes upstream, the caller’s and what is nobody’s business do not', async () => {
    const private_ = {
      cookie: 'a=b',
      'x-forwarded-for': '10.0.0.1',
      'x-api-key': 'other',
      'openai-organization': 'org-x',
      origin: 'https://x',
    }
    const answer = await ask(inline, chatOf(), {
      headers: { ...private_, 'openai-beta': 'b', 'x-stainless-lang': 'js' },
    })
    const headers = model.calls[0]?.headers ?? {}
    expect(headers).toMatchObject({
      authorization: `Bearer ${KEY}`,
      'openai-beta': 'b',
      'x-stainless-lang': 'js',
    })
    expect(Object.keys(headers)).not.toEqual(expect.arrayContaining(['cookie']))
    for (const name of Object.keys(private_)) expect(headers[name]).toBeUndefined()
    expect(JSON.stringify(headers)).not.toContain(apiKey)
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
  })

  test('without an operator’s key the caller’s goes there, in the way in which it came', async () => {
    await using app = await startApp({ env: { VISION_UPSTREAM_URL: model.url } })
    await ask(app, chatOf())
    expect(model.calls[0]?.headers).toMatchObject({ authorization })
    const answer = await fetch(`${app.url}/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': apiKey, 'anthropic-version': '2023-06-01', 'content-type': 'application/json' },
      body: '{"messages":[]}',
    })
    expect(answer.status).toBe(200)
    expect(model.calls[1]?.headers).toMatchObject({ 'x-api-key': apiKey, 'anthropic-version': '2023-06-01' })
    expect(model.calls[1]?.headers.authorization).toBeUndefined()
  })

  test('whoever has no key is refused before the body is read', async () => {
    for (const path of [CHAT, '/v1/responses', '/v1/messages'])
      expect((await ask(inline, chatOf(), { path, headers: { authorization: 'Bearer wrong' } })).status).toBe(
        401,
      )
    expect((await fetch(`${inline.url}/v1/models`)).status).toBe(401)
    expect(model.calls).toEqual([])
  })

  test('what the upstream says of its connection, its cookies and its pages is not ours to say', async () => {
    model.answer = (response) =>
      response
        .writeHead(418, {
          ...{ 'set-cookie': 'a=b', 'access-control-allow-origin': '*', connection: 'x-hop', 'x-hop': '1' },
          ...{ 'x-accel-redirect': '/inside', 'x-accel-buffering': 'yes', 'x-sendfile': '/etc/passwd' },
          ...{
            'x-request-id': 'theirs',
            'x-ratelimit-remaining': '3',
            'strict-transport-security': 'max-age=1',
            'x-accel-redirect': '/readyz',
            'x-accel-buffering': 'yes',
          },
        })
        .end('short')
    const { status, headers } = await ask(inline, chatOf())
    expect({ status, ...Object.fromEntries(headers) }).toMatchObject({
      ...{ status: 418, 'x-upstream-request-id': 'theirs', 'x-ratelimit-remaining': '3' },
      'x-request-id': expect.not.stringContaining('theirs'),
    })
    expect(headers.get('x-accel-buffering')).toBe('no')
    const ofTheirSite = ['set-cookie', 'access-control-allow-origin', 'x-hop', 'strict-transport-security']
    for (const name of [...ofTheirSite, 'x-accel-redirect', 'x-sendfile'])
      expect(headers.has(name), name).toBe(false)
  })

  test('no log line has a key, a prompt or an image’s address, at its most talkative', async () => {
    const lines: string[] = []
    await using app = await startApp({
      env: { VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: KEY },
      onLog: (line) => lines.push(line),
    })
    const { url } = await upload(app, tinyPng)
    await ask(app, { ...chatOf(url, dataUrl(tinyPng)), prompt: 'my-secret-prompt' })
    await ask(app, chatOf('https://secret.example/\u0000', `${url}x`))
    const deleted = await upload(app, tinyPng)
    await fetch(`${app.url}/v1/files/uploads/${deleted.id}`, { method: 'DELETE', headers: { authorization } })
    await ask(app, chatOf(deleted.url))
    model.take = (_request, response) =>
      response.socket?.end('HTTP/1.1 200 OK\r\nmy-secret-prompt\x00: 1\r\n\r\n')
    await ask(app, chatOf(url))
    model.take = (_request, response) => {
      const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n'
      response.socket?.end(`${head}my-secret-prompt\r\n`)
    }
    await expect((await ask(app, chatOf(url))).text()).rejects.toThrow()
    const log = lines.join('')
    expect(log).toContain('broke off its answer')
    expect(log).toContain('vision_upstream_unreachable')
    for (const secret of [
      apiKey,
      KEY,
      'my-secret-prompt',
      'secret.example',
      new URL(url).pathname.slice(-40),
      new URL(deleted.url).pathname.slice(-40),
    ])
      expect(log).not.toContain(secret)
  })

  test('the models are listed', async () => {
    const answer = await fetch(`${inline.url}/v1/models?limit=2`, { headers: { authorization } })
    expect(await answer.json()).toMatchObject({ object: 'list', data: [{ id: 'stub' }] })
    expect(model.calls[0]).toMatchObject({ method: 'GET', url: '/v1/models?limit=2' })
  })
})

test('without VISION_UPSTREAM_URL there is nothing at these addresses', async () => {
  await using app = await startApp()
  for (const path of [CHAT, '/v1/responses', '/v1/messages'])
    expect(await refusal(await ask(app, chatOf(), { path }))).toMatchObject({
      status: 404,
      code: 'not_found',
    })
  expect((await fetch(`${app.url}/v1/models`, { headers: { authorization } })).status).toBe(404)
})
