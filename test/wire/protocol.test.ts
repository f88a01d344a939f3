import { METHODS } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { answersTo, exchange, requestHead, uploadHead } from '../support/socket.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** A request as it is written, whatever that is; the connection closes after its answer. */
const request = (line: string, ...headers: string[]) =>
  [line, ...headers, 'Connection: close', '', ''].join('\r\n')

const HOST = 'Host: localhost'
const GET = 'GET /healthz HTTP/1.1'

interface Case {
  readonly title: string
  readonly request: string
  readonly status: number
}

/** Refused by the server, or by the parser, in JSON and by name; what is no request gets both shapes. */
async function expectAnswer({ request, status }: Case) {
  const begun = performance.now()
  const answers = await answersTo(app.port, request)
  expect(answers.map(({ status }) => status)).toEqual([status])
  expect(performance.now() - begun).toBeLessThan(2000)
  const [{ headers, body } = expect.unreachable()] = answers
  if (status !== 200) {
    expect(headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
    })
    expect(JSON.parse(String(body))).toHaveProperty('error.code')
  }
  expect((await exchange(app.port, requestHead('GET /healthz'))).status).toBe(200)
}

describe('a request names one host', () => {
  test.each<Case>([
    { title: 'none', request: request(GET), status: 400 },
    { title: 'none, though HTTP/1.0 needs none', request: request('GET /healthz HTTP/1.0'), status: 200 },
    { title: 'an empty one', request: request(GET, 'Host:'), status: 200 },
    { title: 'a name', request: request(GET, 'Host: images.example.com'), status: 200 },
    { title: 'a name and a port', request: request(GET, 'Host: my_images-1.local:8080'), status: 200 },
    { title: 'an IPv6 address', request: request(GET, 'Host: [::1]:8080'), status: 200 },
    { title: 'two', request: request(GET, HOST, 'Host: evil.example'), status: 400 },
    { title: 'one twice', request: request(GET, HOST, HOST), status: 400 },
    { title: 'two in HTTP/1.0', request: request('GET /healthz HTTP/1.0', HOST, HOST), status: 400 },
    { title: 'a list', request: request(GET, 'Host: a, b'), status: 400 },
    { title: 'a path', request: request(GET, 'Host: localhost/evil'), status: 400 },
    { title: 'a user', request: request(GET, 'Host: user@localhost'), status: 400 },
    { title: 'a tag', request: request(GET, 'Host: <script>'), status: 400 },
    { title: 'letters for a port', request: request(GET, 'Host: localhost:http'), status: 400 },
    { title: 'half an address', request: request(GET, 'Host: [::1'), status: 400 },
  ])('$title: $status', expectAnswer)

  test('else an upload is refused in the envelope', async () => {
    const form = uploadOf(tinyPng)
    const head = uploadHead(form, authorization).replace('Host: localhost\r\n', '')
    const answer = await exchange(app.port, head, form.body)
    expect(answer.status).toBe(400)
    expect(JSON.parse(String(answer.body))).toEqual({
      success: false,
      message: expect.any(String),
      data: null,
    })
    expect(await app.files()).toEqual([])
  })
})

describe('the first line', () => {
  test.each<Case>([
    { title: 'of HTTP/0.9', request: 'GET /healthz\r\n\r\n', status: 400 },
    { title: 'of HTTP/1.2', request: request('GET /healthz HTTP/1.2', HOST), status: 400 },
    { title: 'of HTTP/2.0', request: request('GET /healthz HTTP/2.0', HOST), status: 400 },
    { title: 'of an HTTP/2 connection', request: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', status: 400 },
    { title: 'of http in small letters', request: request('GET /healthz http/1.1', HOST), status: 400 },
    { title: 'of a TLS connection', request: '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', status: 400 },
    { title: 'after empty lines', request: `\r\n\r\n${request(GET, HOST)}`, status: 200 },
    {
      title: 'with a whole URL, whoever’s',
      request: request('GET http://evil.example/healthz HTTP/1.1', HOST),
      status: 200,
    },
    { title: 'with half a URL', request: request('GET http://[::1/healthz HTTP/1.1', HOST), status: 400 },
    {
      title: 'with a host in its path',
      request: request('GET //evil.example/healthz HTTP/1.1', HOST),
      status: 404,
    },
    { title: 'without a slash', request: request('GET healthz HTTP/1.1', HOST), status: 400 },
    { title: 'with a line feed in its path', request: request('GET /healthz\n HTTP/1.1', HOST), status: 400 },
    { title: 'with a tab in its path', request: request('GET /heal\tthz HTTP/1.1', HOST), status: 400 },
    { title: 'with a NUL in its path', request: request('GET /heal\0thz HTTP/1.1', HOST), status: 400 },
    { title: 'with bytes above ASCII', request: request('GET /\xff\xfe HTTP/1.1', HOST), status: 400 },
    {
      title: 'with 15 KB of path',
      request: request(`GET /${'x'.repeat(15_000)} HTTP/1.1`, HOST),
      status: 404,
    },
    {
      title: 'with 20 KB of path',
      request: request(`GET /${'x'.repeat(20_000)} HTTP/1.1`, HOST),
      status: 431,
    },
    {
      title: 'with 20 KB of query',
      request: request(`GET /healthz?${'x'.repeat(20_000)} HTTP/1.1`, HOST),
      status: 431,
    },
    {
      title: 'with a method that nobody knows',
      request: request('BREW /healthz HTTP/1.1', HOST),
      status: 405,
    },
    { title: 'with a method in small letters', request: request('get /healthz HTTP/1.1', HOST), status: 405 },
    { title: 'with TRACE', request: request('TRACE /healthz HTTP/1.1', HOST), status: 405 },
    { title: 'with PROPFIND', request: request('PROPFIND /uploads/ HTTP/1.1', HOST), status: 404 },
    { title: 'with OPTIONS *', request: request('OPTIONS * HTTP/1.1', HOST), status: 404 },
    { title: 'with GET *', request: request('GET * HTTP/1.1', HOST), status: 404 },
    {
      title: 'with CONNECT',
      request: request('CONNECT example.com:443 HTTP/1.1', HOST) + request(GET, HOST),
      status: 400,
    },
  ])('$title: $status', expectAnswer)
})

describe('a method that an address does not take is 405, and the answer names those that it does', () => {
  /** Each address, and what it takes. `OPTIONS` and `CONNECT` have tests of their own. */
  const ADDRESSES = {
    '/uploads/2026/01/nothing.png': ['GET', 'HEAD'],
    '/api/upload': ['POST'],
    '/v1/files/uploads': ['GET', 'HEAD', 'POST'],
    '/v1/files/uploads/file_x': ['GET', 'HEAD', 'DELETE'],
    '/v1/files/uploads/base64': ['POST'],
    '/v1/files/uploads/presign': ['POST'],
    '/incoming/x.png': ['PUT'],
    '/delete/x': ['GET', 'HEAD', 'POST', 'DELETE'],
    '/': ['GET', 'HEAD'],
    '/page/page.css': ['GET', 'HEAD'],
    '/clients': ['GET', 'HEAD'],
    '/docs': ['GET', 'HEAD'],
    '/docs/static/index.html': ['GET', 'HEAD'],
    '/openapi.json': ['GET', 'HEAD'],
    '/healthz': ['GET', 'HEAD'],
    '/readyz': ['GET', 'HEAD'],
    '/robots.txt': ['GET', 'HEAD'],
  }
  const methods = METHODS.filter((method) => method !== 'CONNECT')

  test.each(Object.entries(ADDRESSES))('%s takes %j', async (path, taken) => {
    for (const method of methods.filter((method) => !taken.includes(method))) {
      const [answer = expect.unreachable()] = await answersTo(
        app.port,
        request(`${method} ${path} HTTP/1.1`, HOST),
      )
      expect([method, answer.status, answer.headers.allow]).toEqual([method, 405, taken.join(', ')])
    }
  })

  test('but 404 where there is nothing', async () => {
    for (const method of methods) {
      const [answer] = await answersTo(app.port, request(`${method} /nothing/here HTTP/1.1`, HOST))
      expect([method, answer?.status]).toEqual([method, 404])
    }
  })

  test.each<[line: string, status: number, allow: string | undefined]>([
    ['BREW /uploads/2026/01/x.png HTTP/1.1', 405, 'GET, HEAD'],
    ['get /uploads/2026/01/x.png?download HTTP/1.1', 405, 'GET, HEAD'],
    ['X-MADE_UP /api/upload HTTP/1.1', 405, 'POST'],
    ['BREW /nothing/here HTTP/1.1', 404, undefined],
    ['BREW uploads/2026/01/x.png HTTP/1.1', 400, undefined],
    ['BREW /uploads/2026/01/x.png', 400, undefined],
    ['(BREW) /uploads/2026/01/x.png HTTP/1.1', 400, undefined],
  ])('also for a method that the parser does not know: %s is %i', async (line, status, allow) => {
    const [answer] = await answersTo(app.port, request(line, HOST))
    expect(answer?.status).toBe(status)
    expect(answer?.headers.allow).toBe(allow)
    expect(answer?.headers.connection).toBe('close')
    expect(JSON.parse(String(answer?.body))).toHaveProperty('error.code')
  })

  test('but behind another request in the same segment, only that one is answered as it should be', async () => {
    const both =
      request('GET /healthz HTTP/1.1', HOST) + request('BREW /uploads/2026/01/x.png HTTP/1.1', HOST)
    expect((await answersTo(app.port, both)).map(({ status }) => status)).toEqual([200])
  })

  test.each(['PROPFIND', 'QUERY', 'TRACE', 'PURGE'])(
    'a body of %s is no request of its own',
    async (method) => {
      const inner = `${GET}\r\n${HOST}\r\n\r\n`
      const head = `${method} /healthz HTTP/1.1\r\n${HOST}\r\nContent-Length: ${inner.length}\r\n\r\n`
      expect((await answersTo(app.port, head + inner)).map(({ status }) => status)).toEqual([405])
    },
  )
})

describe('headers', () => {
  test.each<Case>([
    {
      title: 'that ask for HTTP/2',
      request: request(
        GET,
        HOST,
        'Connection: Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA',
      ),
      status: 200,
    },
    {
      title: 'that ask for a WebSocket',
      request: request(
        GET,
        HOST,
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ),
      status: 200,
    },
    {
      title: 'in great number',
      request: request(GET, HOST, ...Array.from({ length: 3000 }, (_, i) => `X-${i}: y`)),
      status: 431,
    },
    {
      title: 'in great number and very short',
      request: request(GET, HOST, ...Array(2500).fill('a:')),
      status: 431,
    },
    {
      title: 'named like parts of every object',
      request: request(GET, HOST, '__proto__: x', 'constructor: x', 'hasOwnProperty: x'),
      status: 200,
    },
    { title: 'that expect the impossible', request: request(GET, HOST, 'Expect: 200-ok'), status: 200 },
  ])('$title: $status', expectAnswer)

  test.each(['100-continue, 100-continue', '100-Continue', '200-ok', '', '100-continue;q=1', '\u00e9'])(
    'Expect: %j is no obstacle to an upload',
    async (expectation) => {
      const form = uploadOf(tinyPng)
      const head = uploadHead(form, authorization, { Expect: expectation })
      const answer = await exchange(app.port, Buffer.from(head, 'latin1'), form.body)
      expect(answer.status).toBe(200)
      await app.store.delete(JSON.parse(String(answer.body)).data.split('/').at(-1))
    },
  )
})

describe('a path that climbs', () => {
  const up = [
    '..',
    '%2e%2e',
    '%2E.',
    '%252e%252e',
    '..%00',
    '%c0%ae%c0%ae',
    '%uff0e%uff0e',
    '..;',
    '\u00a0..',
  ]
  const slash = ['/', '%2f', '%5c', '\\', '%252f', '//', '%c0%af']
  const targets = ['secret', 'healthz', 'etc/passwd']
  const paths = up.flatMap((up) =>
    slash.flatMap((slash) => targets.map((target) => [up, up, target].join(slash))),
  )

  test('never leads anywhere, however it is written', async () => {
    for (const path of paths)
      for (const start of [
        '/uploads/2026/01/',
        '/uploads/',
        '/v1/files/uploads/',
        '/docs/static/',
        '/delete/',
      ]) {
        const [answer = expect.unreachable()] = await answersTo(
          app.port,
          request(`GET ${start}${path} HTTP/1.1`, HOST),
        )
        expect([400, 401, 404], start + path).toContain(answer.status)
        expect(answer.headers['content-type'], start + path).toMatch(/^application\/json/)
      }
  })

  test.each([
    '//uploads/2026/01/x.png',
    '/uploads//2026/01/x.png',
    '/uploads/2026/01//x.png',
    '/./healthz',
    '/uploads/../healthz',
    '/healthz/',
    '/healthz%00',
    '/healthz%2f',
    '/HEALTHZ',
  ])('%s is not another way to write what exists', async (path) => {
    expect((await exchange(app.port, requestHead(`GET ${path}`))).status).toBe(404)
  })
})
