import type { Socket } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { type Origin, startRawOrigin, testNetwork, uploadByUrl } from '../support/remote.ts'
import { eventually } from '../support/socket.ts'

const LIMIT = 100 * 1024
const right = selfSigned('right.test')

/** What the origin does once it has been asked. */
let behave: (socket: Socket, path: string) => void = () => {}
const onConnection = (socket: Socket) => {
  socket.once('data', (chunk: Buffer) => behave(socket, String(chunk).split(' ')[1] ?? ''))
}

let app: TestApp
let origin: Origin
let trusted: Origin
let distrusted: Origin
let closedPort: number
let log = ''
beforeAll(async () => {
  setDefaultCACertificates([...getCACertificates(), right.cert])
  origin = await startRawOrigin(onConnection)
  trusted = await startRawOrigin(onConnection, right)
  distrusted = await startRawOrigin(onConnection, selfSigned('right.test'))
  await using closed = await startRawOrigin(() => {})
  closedPort = closed.port
  const ports = [origin, trusted, distrusted, closed].map(({ port }) => `127.0.0.1:${port}`)
  const loopback = ['127.0.0.1']
  app = await startApp({
    env: {
      MAX_FILE_SIZE: '100KB',
      URL_FETCH_ALLOW: ports.join(','),
      URL_FETCH_TIMEOUT: '1s',
    },
    network: testNetwork({ 'origin.test': loopback, 'right.test': loopback, 'wrong.test': loopback }),
    onLog: (line) => {
      log += line
    },
  })
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  for (const one of [origin, trusted, distrusted]) await one[Symbol.asyncDispose]()
})

const head = (status: string, ...headers: string[]) => [`HTTP/1.1 ${status}`, ...headers, '', ''].join('\r\n')
const whole = (body: Buffer | string, ...headers: string[]) =>
  Buffer.concat([
    Buffer.from(head('200 OK', `Content-Length: ${Buffer.byteLength(body)}`, ...headers)),
    Buffer.from(body),
  ])
const png = (...headers: string[]) => whole(tinyPng, 'Content-Type: image/png', ...headers)
const redirectTo = (location: string, status = '302 Found') =>
  head(status, `Location: ${location}`, 'Content-Length: 0')
const address = (path = '/photo.png') => `http://origin.test:${origin.port}${path}`

/** Asks for it, and expects a refusal in time that leaves nothing: no file, and no connection. */
async function expectRefusal(url: string, code: string) {
  const begun = performance.now()
  const answer = await uploadByUrl(app, { url })
  expect(answer.code).toBe(code)
  expect(performance.now() - begun).toBeLessThan(3000)
  // At once, not when the time for the whole fetch is up.
  await eventually(() => [origin, trusted, distrusted].every(({ open }) => open === 0), 500)
  expect(await app.files()).toEqual([])
  return answer
}

/** Writes pieces for as long as somebody takes them. */
function drip(socket: Socket, piece: Buffer, milliseconds: number): void {
  const timer = setInterval(() => socket.write(piece), milliseconds)
  socket.once('close', () => clearInterval(timer))
}

/** Made once, as it takes its time. */
const BOMB = gzipSync(Buffer.alloc(50_000_000))
const page = `<!doctype html><title>Log in</title>${'<p>Please log in.</p>'.repeat(300)}`
const misdeeds: Record<string, [code: string, (socket: Socket) => void]> = {
  'never answers': ['url_timeout', () => {}],
  'sends its headers byte by byte': [
    'url_timeout',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nX-Long: ')
      drip(socket, Buffer.from('x'), 50)
    },
  ],
  'sends its image byte by byte': [
    'url_timeout',
    (socket) => {
      socket.write(head('200 OK', 'Content-Length: 5000'))
      // As far as it says what it is and how large; then, at any time, its pixels might come.
      socket.write(tinyPng.subarray(0, 33))
      drip(socket, Buffer.of(0), 50)
    },
  ],
  'sends something else byte by byte': [
    'url_not_an_image',
    (socket) => {
      socket.write(head('200 OK', 'Content-Length: 5000'))
      drip(socket, Buffer.of(0x89), 50)
    },
  ],
  'stops in the middle': ['url_timeout', (socket) => socket.write(whole(pngOfSize(5000)).subarray(0, 2000))],
  'sends an image that never ends': [
    'file_too_large',
    (socket) => {
      socket.write(Buffer.concat([Buffer.from(head('200 OK')), tinyPng]))
      drip(socket, Buffer.alloc(64 * 1024), 1)
    },
  ],
  'sends one byte too many without saying so': [
    'file_too_large',
    (socket) => socket.end(Buffer.concat([Buffer.from(head('200 OK')), pngOfSize(LIMIT + 1)])),
  ],
  'says that it will send too much': [
    'file_too_large',
    (socket) => socket.write(head('200 OK', `Content-Length: ${LIMIT + 1}`)),
  ],
  'compresses what it sends': [
    'url_answer_encoded',
    (socket) => socket.end(whole(BOMB, 'Content-Encoding: gzip')),
  ],
  'compresses with two codings': [
    'url_answer_encoded',
    (socket) => socket.end(png('Content-Encoding: identity', 'Content-Encoding: br')),
  ],
  'resets the connection half-way': [
    'url_answer_incomplete',
    (socket) => socket.write(whole(pngOfSize(5000)).subarray(0, 2000), () => socket.resetAndDestroy()),
  ],
  'sends less than it said': [
    'url_answer_incomplete',
    (socket) => socket.end(whole(pngOfSize(5000)).subarray(0, -1)),
  ],
  'leaves out the last chunk': [
    'url_answer_incomplete',
    (socket) =>
      socket.end(
        Buffer.concat([
          Buffer.from(head('200 OK', 'Transfer-Encoding: chunked')),
          Buffer.from(`${tinyPng.length.toString(16)}\r\n`),
          tinyPng,
          Buffer.from('\r\n'),
        ]),
      ),
  ],
  'hangs up': ['url_unreachable', (socket) => socket.end()],
  'resets at once': ['url_unreachable', (socket) => socket.resetAndDestroy()],
  'does not speak HTTP': ['url_unreachable', (socket) => socket.end('220 mail.test ESMTP\r\n')],
  'has headers without end': [
    'url_unreachable',
    (socket) => socket.end(head('200 OK', `X: ${'x'.repeat(100_000)}`)),
  ],
  'gives two lengths': ['url_unreachable', (socket) => socket.end(png('Content-Length: 5'))],
  'sends a page as image/png': [
    'url_not_an_image',
    (socket) => socket.end(whole(page, 'Content-Type: image/png')),
  ],
  'sends a page': ['url_not_an_image', (socket) => socket.end(whole(page, 'Content-Type: text/html'))],
  'sends a short text': ['url_not_an_image', (socket) => socket.end(whole('no'))],
  'sends an SVG': [
    'url_not_an_image',
    (socket) => socket.end(whole('<svg xmlns="http://www.w3.org/2000/svg"/>')),
  ],
  'sends nothing': ['url_not_an_image', (socket) => socket.end(whole(''))],
  'sends a damaged image': ['image_invalid', (socket) => socket.end(whole(tinyPng.subarray(0, 20)))],
  'redirects to itself': ['url_redirect_refused', (socket) => socket.end(redirectTo('/photo.png'))],
  'refuses without end': [
    'url_http_error',
    (socket) => {
      socket.write(head('404 Not Found'))
      drip(socket, Buffer.from('x'), 10)
    },
  ],
  'redirects without end, and inside': [
    'url_forbidden_address',
    (socket) => {
      socket.write(head('302 Found', 'Location: http://10.0.0.1/'))
      drip(socket, Buffer.from('x'), 10)
    },
  ],
  'redirects nowhere': ['url_http_error', (socket) => socket.end(head('302 Found', 'Content-Length: 0'))],
}

describe('an image is not taken from a server that', () => {
  test.each(Object.entries(misdeeds))('%s', async (_what, [code, behaviour]) => {
    behave = behaviour
    await expectRefusal(address(), code)
  })

  test.each([
    '204 No Content',
    '206 Partial Content',
    '300 Choices',
    '304 Same',
    '401 No',
    '403 No',
    '404 No',
    '500 Oh',
    '503 Oh',
  ])('answers %s', async (status) => {
    behave = (socket) => socket.end(head(status, /^(204|304)/.test(status) ? 'X: y' : 'Content-Length: 0'))
    const { status: own, body } = await expectRefusal(address(), 'url_http_error')
    expect(own).toBe(422)
    expect(JSON.stringify(body)).toContain(`status ${status.slice(0, 3)}`)
  })

  test('is not there', async () => {
    await expectRefusal(`http://origin.test:${closedPort}/`, 'url_unreachable')
  })

  test('has a certificate that nobody vouches for, or one for another name', async () => {
    let asked = 0
    behave = (socket) => {
      asked += 1
      socket.end(png())
    }
    for (const url of [
      `https://right.test:${distrusted.port}/`,
      `https://wrong.test:${trusted.port}/`,
      `https://127.0.0.1:${trusted.port}/`,
    ]) {
      const { body } = await expectRefusal(url, 'url_unreachable')
      expect(JSON.stringify(body)).toContain('certificate is not valid')
    }
    expect(asked).toBe(0)
  })

  test('does not speak TLS where it should', async () => {
    await expectRefusal(`https://right.test:${origin.port}/`, 'url_unreachable')
  })

  test('redirects from https to http', async () => {
    behave = (socket, path) => socket.end(path === '/' ? redirectTo(address()) : png())
    await expectRefusal(`https://right.test:${trusted.port}/`, 'url_redirect_refused')
  })
})

describe('an image is taken', () => {
  test('over TLS, when the certificate is right', async () => {
    behave = (socket) => socket.end(png())
    const { status } = await uploadByUrl(app, { url: `https://right.test:${trusted.port}/photo.png` })
    expect(status).toBe(200)
  })

  test('of exactly the largest size, with and without its length', async () => {
    const image = pngOfSize(LIMIT)
    for (const answer of [whole(image), Buffer.concat([Buffer.from(head('200 OK')), image])]) {
      behave = (socket) => socket.end(answer)
      expect(await uploadByUrl(app, { url: address() })).toMatchObject({ status: 200, body: { size: LIMIT } })
    }
  })

  test('after five redirects of every kind, and not after six', async () => {
    const kinds = ['301 A', '302 B', '303 C', '307 D', '308 E', '302 F']
    const asked: string[] = []
    behave = (socket, path) => {
      asked.push(path)
      const left = Number(path.slice(1))
      // Without a host, and from the name to the address.
      const to = left % 2 === 0 ? `${left - 1}` : `http://127.0.0.1:${origin.port}/${left - 1}`
      socket.end(left > 0 ? redirectTo(to, kinds[left - 1]) : png())
    }
    expect((await uploadByUrl(app, { url: address('/5') })).status).toBe(200)
    expect(asked).toEqual(['/5', '/4', '/3', '/2', '/1', '/0'])
    expect((await uploadByUrl(app, { url: address('/6') })).code).toBe('url_redirect_refused')
  })

  test('as long as its length says, whatever comes behind it', async () => {
    behave = (socket) => socket.end(Buffer.concat([png(), Buffer.from('HTTP/1.1 200 OK\r\n\r\nmore')]))
    expect(await uploadByUrl(app, { url: address() })).toMatchObject({
      status: 200,
      body: { size: tinyPng.length },
    })
  })

  test('though the server calls it uncoded', async () => {
    behave = (socket) => socket.end(png('Content-Encoding: Identity'))
    expect((await uploadByUrl(app, { url: address() })).status).toBe(200)
  })
})

test('the log does not repeat what an origin sends that is no HTTP, as that may be the path', async () => {
  behave = (socket, path) => socket.end(`HTTP/1.1 200 OK\r\nX: \u0001${path}\r\n\r\n`)
  log = ''
  expect((await uploadByUrl(app, { url: address('/?token=sekret') })).code).toBe('url_unreachable')
  expect(log).toContain('url_unreachable')
  expect(log).not.toContain('sekret')
})

test('the log tells the operator why, and never the query of a URL or its path', async () => {
  behave = (socket) => socket.end(redirectTo('http://10.0.0.1/inner-path?token=inner-secret'))
  await uploadByUrl(app, { url: address('/outer-path?token=outer-secret') })
  expect(log).toContain('10.0.0.1:80 leads to 10.0.0.1')
  expect(log).not.toMatch(/outer|inner|token/)
})
