import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fetchImage } from '../../src/intake/remote/fetch-image.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, sha256, tinyPng } from '../support/images.ts'
import { type Origin, startOrigin, testNetwork, uploadByUrl } from '../support/remote.ts'
import { eventually } from '../support/socket.ts'

let app: TestApp
let origin: Origin
let network: ReturnType<typeof testNetwork>
let last: IncomingMessage
let answer: (request: IncomingMessage, response: ServerResponse) => void
beforeAll(async () => {
  origin = await startOrigin((request, response) => {
    last = request
    answer(request, response)
  })
  const loopback = ['127.0.0.1']
  network = testNetwork({ 'images.test': loopback, 'xn--bcher-kva.test': loopback, intranet: loopback })
  app = await startApp({
    env: {
      URL_FETCH_ALLOW: `127.0.0.1:${origin.port}, intranet:${origin.port}`,
      PUBLIC_URL: 'https://images.example.com',
      QUOTA: '1MB',
      IDLE_TIMEOUT: '1s',
    },
    network,
  })
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
})

const address = (path: string, host = 'images.test') => `http://${host}:${origin.port}${path}`
const send = (bytes: Buffer) => (_request: IncomingMessage, response: ServerResponse) => response.end(bytes)

describe('POST /v1/files/uploads/url', () => {
  test.each(photos)('hosts a $format photograph byte for byte', async ({ file, mediaType, extension }) => {
    const bytes = fixture(file)
    answer = send(bytes)
    const { status, body } = await uploadByUrl(app, {
      url: address(`/${file}`),
      filename: 'x',
      purpose: 'vision',
    })
    expect({ status, body }).toEqual({
      status: 200,
      body: {
        id: expect.stringMatching(/^file_[0-9a-z]{53}$/),
        url: expect.stringMatching(new RegExp(`^https://images\\.example\\.com/uploads/.*\\.${extension}$`)),
        mime_type: mediaType,
        size: bytes.length,
        expires_at: expect.any(String),
        width: expect.any(Number),
        height: expect.any(Number),
        animated: false,
        compatibility: expect.objectContaining({ deepseek: true }),
        delete_url: expect.any(String),
      },
    })
    const got = await fetch(app.url + new URL(body.url ?? '').pathname)
    expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(bytes))
  })

  test('sends who asks and for what, and nothing else', async () => {
    answer = send(tinyPng)
    await uploadByUrl(app, { url: address('/x.png?token=a%20b&c#part') })
    expect(last.url).toBe('/x.png?token=a%20b&c')
    expect(last.headers).toEqual({
      host: `images.test:${origin.port}`,
      connection: 'close',
      'user-agent': 'Layover/0.1.0 (+https://images.example.com)',
      accept: 'image/*',
      'accept-encoding': 'identity',
    })
  })

  test('takes paths and hosts in any script, a dot at the end of a name, and hosts that are allowed by name', async () => {
    answer = send(tinyPng)
    const urls = {
      [address('/bücher/😀.png?ü=ß', 'BÜCHER.test')]: '/b%C3%BCcher/%F0%9F%98%80.png?%C3%BC=%C3%9F',
      [address('/x.png', 'images.test.')]: '/x.png',
      [address('/x.png', '127.1')]: '/x.png',
      [address('/x.png', 'intranet')]: '/x.png',
    }
    for (const [url, path] of Object.entries(urls)) {
      expect((await uploadByUrl(app, { url })).status).toBe(200)
      expect(last.url).toBe(path)
    }
  })

  test('asks the port that was allowed, and no other of that host', async () => {
    for (const url of ['http://intranet/x.png', 'http://127.0.0.1/x.png', 'https://images.test/x.png'])
      expect((await uploadByUrl(app, { url })).code).toBe('url_forbidden_address')
  })

  test('lets the image live for expires_in, of the query, else of the body', async () => {
    answer = send(tinyPng)
    const url = address('/x.png')
    const left = ({ body }: { body: Record<string, string> }) =>
      Math.round((Date.parse(body.expires_at ?? '') - Date.now()) / 1000)
    expect(left(await uploadByUrl(app, { url, expires_in: 600 }))).toBeCloseTo(600, -1)
    expect(left(await uploadByUrl(app, { url, expires_in: 600 }, { query: '?expires_in=60' }))).toBeCloseTo(
      60,
      -1,
    )
  })

  test('refuses a wrong expires_in before anything is fetched', async () => {
    const { seen } = origin
    const url = address('/x.png')
    for (const [members, query] of [
      [{ url, expires_in: -1 }, ''],
      [{ url, expires_in: 'soon' }, ''],
      [{ url }, '?expires_in=0'],
    ] as const)
      expect(await uploadByUrl(app, members, { query })).toMatchObject({
        status: 400,
        code: 'expires_in_invalid',
      })
    expect(origin.seen).toBe(seen)
  })

  test('counts for the quota like any upload', async () => {
    await using small = await startApp({
      env: { URL_FETCH_ALLOW: `127.0.0.1:${origin.port}`, QUOTA: '5KB' },
      network,
    })
    answer = send(tinyPng)
    expect((await uploadByUrl(small, { url: address('/x.png') })).status).toBe(200)
    expect(await uploadByUrl(small, { url: address('/x.png') })).toMatchObject({
      status: 429,
      code: 'quota_exceeded',
    })
  })

  test('keeps its client for longer than a connection may be idle', async () => {
    answer = (_request, response) => setTimeout(() => response.end(tinyPng), 2500)
    expect((await uploadByUrl(app, { url: address('/x.png') })).status).toBe(200)
  })

  test('leaves no connection to the other server', async () => {
    answer = send(tinyPng)
    await uploadByUrl(app, { url: address('/x.png') })
    await eventually(() => origin.open === 0)
  })

  test('stops fetching when its client leaves', async () => {
    const before = (await app.files()).length
    for (const begin of [false, true]) {
      let isAsked = false
      answer = (_request, response) => {
        isAsked = true
        if (begin) response.write(fixture('photo.png').subarray(0, 10_000))
      }
      const leave = new AbortController()
      const asked = uploadByUrl(app, { url: address('/x.png') }, { signal: leave.signal })
      await eventually(() => isAsked)
      leave.abort()
      await expect(asked).rejects.toThrow()
      await eventually(() => origin.open === 0, 2000)
    }
    expect(await app.files()).toHaveLength(before)
  })
})

describe('a fetch ends in time though all of it may take long', () => {
  const options = () => ({
    network,
    ...{
      allow: [{ range: '127.0.0.1/32', port: origin.port }],
      own: [],
      userAgent: 'test',
      maxFileSize: 1e6,
    },
    totalTime: 20_000,
    patience: { connect: 300, headers: 300, idle: 300 },
    signal: new AbortController().signal,
  })
  const take = async (url: string, more: object = {}) => {
    const begun = performance.now()
    const error = await Array.fromAsync(fetchImage(url, { ...options(), ...more })).catch((error) => error)
    expect(performance.now() - begun).toBeLessThan(3000)
    return error.code
  }

  test('when the headers do not come', async () => {
    answer = () => {}
    expect(await take(address('/x.png'))).toBe('url_timeout')
  })

  test('when the rest of the image does not come', async () => {
    answer = (_request, response) => response.write('x')
    expect(await take(address('/x.png'))).toBe('url_timeout')
    await eventually(() => origin.open === 0)
  })

  test('when the name is not found out, or the connection does not come about', async () => {
    const never = () => new Promise<never>(() => {})
    expect(await take(address('/x.png'), { network: { ...network, resolve: never } })).toBe('url_timeout')
    const dial = ({ signal }: { signal: AbortSignal }) =>
      new Promise<never>((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
      )
    expect(await take(address('/x.png'), { network: { ...network, dial } })).toBe('url_timeout')
  })

  test('when TLS is never begun', async () => {
    answer = () => {}
    const url = address('/x.png').replace('http:', 'https:')
    expect(['url_timeout', 'url_unreachable']).toContain(await take(url))
  })
})
