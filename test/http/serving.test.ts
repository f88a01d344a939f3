import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, photos } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { exchange, requestHead } from '../support/socket.ts'

const START = Date.UTC(2026, 0, 31, 23, 59, 59)

let app: TestApp
let now = START
beforeAll(async () => {
  app = await startApp({ now: () => now })
})
afterAll(() => app[Symbol.asyncDispose]())

async function upload(bytes: Buffer, headers: Record<string, string> = {}, query = '') {
  const form = uploadOf(bytes)
  return fetch(`${app.url}/api/upload${query}`, {
    method: 'POST',
    headers: { authorization, 'content-type': form.contentType, ...headers },
    body: new Uint8Array(form.body),
  })
}

async function uploadedPath(bytes = fixture('photo.webp'), headers = {}, query = '') {
  const { data } = (await (await upload(bytes, headers, query)).json()) as { data: string }
  return new URL(data).pathname
}

/** A request with nothing in it but what is given: fetch would add headers of its own. */
function ask(method: string, path: string, headers: Record<string, string> = {}) {
  return exchange(app.port, requestHead(`${method} ${path}`, headers))
}

/** Headers that belong to the connection or the moment. */
function lasting({ date: _date, 'x-request-id': _id, ...rest }: Readonly<Record<string, string>>) {
  return rest
}

describe('an upload', () => {
  test('is answered with exactly three members, and facts in headers', async () => {
    now = START
    const response = await upload(fixture('photo.png'))
    const body = await response.json()
    expect(body).toEqual({ success: true, message: '', data: expect.any(String) })
    expect((body as { data: string }).data).toMatch(
      new RegExp(`^http://localhost:${app.port}/uploads/2026/01/[0-9a-hjkmnp-tv-z]{53}\\.png$`),
    )
    expect(response.headers.get('x-layover-expires-at')).toBe('2026-02-03T23:59:59.000Z')
    expect(response.headers.get('x-layover-id')).toMatch(/^file_[0-9a-z]{53}$/)
  })

  test.each([
    { where: 'the query', headers: {}, query: '?expires_in=60' },
    { where: 'a header', headers: { 'x-layover-expires-in': '60' }, query: '' },
  ])('may ask for a shorter life in $where', async ({ headers, query }) => {
    now = START
    const response = await upload(fixture('photo.webp'), headers, query)
    expect(response.headers.get('x-layover-expires-at')).toBe('2026-02-01T00:00:59.000Z')
  })
})

describe('an image', () => {
  test.each(photos)(
    'of format $format comes back byte for byte, with its type',
    async ({ file, mediaType }) => {
      now = START
      const bytes = fixture(file)
      const response = await ask('GET', await uploadedPath(bytes))
      expect(response.status).toBe(200)
      expect(response.body.equals(bytes)).toBe(true)
      expect(lasting(response.headers)).toEqual({
        'content-type': mediaType,
        'content-length': String(bytes.length),
        'accept-ranges': 'bytes',
        etag: expect.stringMatching(/^"[0-9a-z]{53}\.[a-z]+"$/),
        'last-modified': 'Sat, 31 Jan 2026 23:59:59 GMT',
        'cache-control': 'public, max-age=259200, immutable',
        'x-content-type-options': 'nosniff',
        'content-security-policy': "default-src 'none'; sandbox",
        'cross-origin-resource-policy': 'cross-origin',
        'access-control-allow-origin': '*',
        'x-robots-tag': 'noindex',
        connection: 'close',
      })
    },
  )

  test('answers HEAD with the headers of GET and no body', async () => {
    const path = await uploadedPath()
    const head = await ask('HEAD', path)
    const get = await ask('GET', path)
    expect(head.status).toBe(200)
    expect(head.body.length).toBe(0)
    expect(lasting(head.headers)).toEqual(lasting(get.headers))
  })

  test('is the same whatever the client calls itself, accepts or comes from', async () => {
    const path = await uploadedPath()
    const plain = await ask('GET', path)
    const other = await ask('GET', path, {
      'User-Agent': 'curl',
      Accept: 'text/html',
      Referer: 'https://elsewhere.example/',
      Cookie: 'a=b',
      'Accept-Encoding': 'gzip, br',
    })
    expect(other.body.equals(plain.body)).toBe(true)
    expect(lasting(other.headers)).toEqual(lasting(plain.headers))
  })

  test('is served in ranges', async () => {
    const bytes = fixture('photo.webp')
    const path = await uploadedPath(bytes)
    const middle = await ask('GET', path, { Range: 'bytes=100-199' })
    expect(middle.status).toBe(206)
    expect(middle.headers).toMatchObject({
      'content-range': `bytes 100-199/${bytes.length}`,
      'content-length': '100',
      'content-type': 'image/webp',
    })
    expect(middle.body.equals(bytes.subarray(100, 200))).toBe(true)
    const head = await ask('HEAD', path, { Range: 'bytes=-1' })
    expect(head.headers).toMatchObject({ 'content-length': String(bytes.length) })
    const last = await ask('GET', path, { Range: 'bytes=-1' })
    expect(last.body.equals(bytes.subarray(-1))).toBe(true)
  })

  test('answers a range outside it with 416 and JSON', async () => {
    const bytes = fixture('photo.webp')
    const response = await ask('GET', await uploadedPath(bytes), { Range: `bytes=${bytes.length}-` })
    expect(response.status).toBe(416)
    expect(response.headers).toMatchObject({
      'content-range': `bytes */${bytes.length}`,
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
    })
    expect(JSON.parse(String(response.body)).error.code).toBe('range_not_satisfiable')
  })

  test('is not sent again to who has it', async () => {
    const path = await uploadedPath()
    const { etag = '', 'last-modified': modified = '' } = (await ask('HEAD', path)).headers
    for (const method of ['GET', 'HEAD']) {
      const byTag = await ask(method, path, { 'If-None-Match': etag })
      expect({ status: byTag.status, bytes: byTag.body.length, etag: byTag.headers.etag }).toEqual({
        status: 304,
        bytes: 0,
        etag,
      })
      expect((await ask(method, path, { 'If-Modified-Since': modified })).status).toBe(304)
      expect((await ask(method, path, { 'If-None-Match': '"another"' })).status).toBe(200)
      expect((await ask(method, path, { 'If-Match': '"another"' })).status).toBe(412)
    }
  })

  test('that has been deleted is 404 even to who has it', async () => {
    const path = await uploadedPath()
    const { etag = '' } = (await ask('HEAD', path)).headers
    await app.store.delete(path.split('/').at(-1) ?? '')
    for (const headers of [{}, { 'If-None-Match': etag }, { Range: 'bytes=0-1' }]) {
      const response = await ask('GET', path, headers)
      expect(response.status).toBe(404)
      expect(JSON.parse(String(response.body)).error.code).toBe('image_not_found')
    }
  })
})

describe('an expired image', () => {
  test('is 410 JSON from the second it expires, with nothing to cache', async () => {
    now = START
    const path = await uploadedPath(fixture('photo.webp'), {}, '?expires_in=60')
    now = START + 59_999
    const last = await ask('GET', path)
    expect({ status: last.status, cache: last.headers['cache-control'] }).toEqual({
      status: 200,
      cache: 'public, max-age=0, immutable',
    })
    now = START + 60_000
    for (const method of ['GET', 'HEAD']) {
      const gone = await ask(method, path, { 'If-None-Match': '*' })
      expect(gone.status).toBe(410)
      expect(gone.headers).toMatchObject({
        'cache-control': 'no-store',
        'content-type': 'application/json; charset=utf-8',
      })
      expect(gone.headers).not.toHaveProperty('etag')
    }
    expect(JSON.parse(String((await ask('GET', path)).body))).toEqual({
      error: {
        message: expect.stringContaining('2026-02-01T00:00:59.000Z'),
        type: 'invalid_request_error',
        code: 'image_expired',
        param: null,
      },
    })
  })

  test('is 410 after the sweep, too, as its name alone says so', async () => {
    now = START
    const path = await uploadedPath(fixture('photo.webp'), {}, '?expires_in=60')
    await app.store.delete(path.split('/').at(-1) ?? '')
    now = START + 60_000
    expect((await ask('GET', path)).status).toBe(410)
  })
})

describe('an address that is not an image’s', () => {
  test.each([
    {
      what: 'another month than the one it was given out under',
      change: (path: string) => path.replace('/01/', '/02/'),
    },
    {
      what: 'another character in the name',
      change: (path: string) => path.replace(/.{5}\.webp$/, '00000.webp'),
    },
    { what: 'another extension', change: (path: string) => path.replace('.webp', '.png') },
    { what: 'no extension', change: (path: string) => path.replace('.webp', '') },
    { what: 'capitals', change: (path: string) => path.toUpperCase().replace('/UPLOADS', '/uploads') },
    { what: 'a way out of the folder', change: () => '/uploads/2026/01/..%2f..%2fsecret' },
    { what: 'a way out in the path', change: () => '/uploads/../../secret' },
    { what: 'a NUL', change: (path: string) => `${path}%00` },
    { what: 'a trailing slash', change: (path: string) => `${path}/` },
  ])('is 404 JSON: $what', async ({ change }) => {
    now = START
    const response = await ask('GET', change(await uploadedPath()))
    expect({ status: response.status, cache: response.headers['cache-control'] }).toEqual({
      status: 404,
      cache: 'no-store',
    })
    expect(JSON.parse(String(response.body)).error.type).toBe('invalid_request_error')
  })

  test('is 400 if it cannot be decoded', async () => {
    const response = await ask('GET', '/uploads/%zz')
    expect(response.status).toBe(400)
    expect(JSON.parse(String(response.body)).error.code).toBe('request_malformed')
  })

  test.each([
    { method: 'DELETE', path: () => uploadedPath(), status: 405 },
    { method: 'POST', path: () => uploadedPath(), status: 405 },
    { method: 'POST', path: async () => '/api/x', status: 404 },
    { method: 'OPTIONS', path: async () => '/api/upload', status: 405 },
    { method: 'PUT', path: async () => '/nowhere', status: 404 },
  ])('says so ($method, $status) whatever body comes with the request', async ({ method, path, status }) => {
    const form = uploadOf(fixture('photo.webp'))
    const bodies = [
      { type: 'application/json', body: '{' },
      { type: 'text/plain', body: 'x'.repeat(2_000_000) },
      { type: form.contentType, body: form.body },
    ]
    for (const { type, body } of bodies) {
      const head = requestHead(`${method} ${await path()}`, {
        'Content-Type': type,
        'Content-Length': body.length,
      })
      expect((await exchange(app.port, head, body)).status).toBe(status)
    }
  })

  test('is 404 for a name of any length', async () => {
    expect((await ask('GET', `/uploads/2026/01/${'x'.repeat(300)}.png`)).status).toBe(404)
  })

  test('is 405 for other methods, with those that work', async () => {
    const image = await ask('DELETE', await uploadedPath())
    expect({ status: image.status, allow: image.headers.allow }).toEqual({ status: 405, allow: 'GET, HEAD' })
    const upload = await ask('GET', '/api/upload')
    expect({ status: upload.status, allow: upload.headers.allow }).toEqual({ status: 405, allow: 'POST' })
    expect(JSON.parse(String(upload.body))).toEqual({
      success: false,
      message: expect.any(String),
      data: null,
    })
  })
})

describe('what surrounds the images', () => {
  test('robots.txt allows everything, as models’ fetchers ask for it first', async () => {
    const response = await ask('GET', '/robots.txt')
    expect({
      status: response.status,
      type: response.headers['content-type'],
      text: String(response.body),
    }).toEqual({
      status: 200,
      type: 'text/plain; charset=utf-8',
      text: 'User-agent: *\nAllow: /\n',
    })
    expect((await ask('HEAD', '/robots.txt')).headers['content-length']).toBe('23')
  })

  test('every answer has the request’s id, which the log has too', async () => {
    const ids = new Set<string | undefined>()
    for (const path of ['/robots.txt', '/nowhere', '/healthz'])
      ids.add((await ask('GET', path)).headers['x-request-id'])
    expect(ids.size).toBe(3)
    expect(ids).not.toContain(undefined)
  })
})
