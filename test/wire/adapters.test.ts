import { afterEach, describe, expect, test } from 'vitest'
import { type Store, StoreError } from '../../src/store/store.ts'
import { UsageError } from '../../src/usage/usage.ts'
import { apiKey, authorization, startApp, type TestApp, type TestAppOptions } from '../support/app.ts'
import { pngHeader, pngOfSize, tinyPng } from '../support/images.ts'
import { multipartBody, type Part } from '../support/multipart.ts'
import { eventually, exchange, openSocket, type RawResponse, requestHead } from '../support/socket.ts'

const text = Buffer.from('just some text')
const file = (content: Buffer, name = 'files'): Part => ({ name, content, filename: 'a.png' })
const field = (name: string, content: string): Part => ({ name, content })

/** The two that take several files, and the names of an answer's parts. */
const SEVERAL = {
  picgo: { path: '/upload', urls: (body: string) => JSON.parse(body).result as string[] },
  plain: {
    path: '/',
    urls: (body: string) => body.split('\n').filter((line) => line !== '' && !line.startsWith('error: ')),
  },
} as const
const several = Object.entries(SEVERAL).map(([name, way]) => ({ name, ...way }))

let app: TestApp
afterEach(async () => app?.[Symbol.asyncDispose]())

async function start(env: Record<string, string> = {}, more: Partial<TestAppOptions> = {}) {
  app = await startApp({ env: { ADAPTERS: 'all', ...env }, ...more })
}

type Headers = Record<string, string | number>

function formHead(path: string, form: ReturnType<typeof multipartBody>, headers: Headers = {}): string {
  return requestHead(`POST ${path}`, {
    ...{ Authorization: authorization, 'Content-Type': form.contentType, 'Content-Length': form.body.length },
    ...headers,
  })
}

function send(path: string, parts: readonly Part[], headers: Headers = {}): Promise<RawResponse> {
  const form = multipartBody(parts)
  return exchange(app.port, formHead(path, form, headers), form.body)
}

const put = (path: string, body: Buffer, headers: Headers = {}) =>
  exchange(
    app.port,
    requestHead(`PUT ${path}`, { Authorization: authorization, 'Content-Length': body.length, ...headers }),
    body,
  )

/** A store whose uploads fail from the one with this number on. */
const failingFrom = (number: number) => (store: Store) => {
  let count = 0
  return {
    ...store,
    put: async (...args: Parameters<Store['put']>) => {
      count += 1
      if (count >= number) throw new StoreError('secret inner text')
      return store.put(...args)
    },
  }
}

async function expectNothing() {
  await eventually(async () => (await app.files()).length === 0)
}

async function used(): Promise<number> {
  const answer = await fetch(`${app.url}/v1/files/usage`, { headers: { authorization } })
  const { quota } = (await answer.json()) as { quota: { used: number; reserved: number } }
  return quota.used + quota.reserved
}

test('without ADAPTERS none of it is there', async () => {
  app = await startApp()
  const paths = ['/api/1/upload', '/api/v1/upload', '/upload']
  for (const path of paths) expect((await send(path, [file(tinyPng)])).status).toBe(404)
  expect((await put('/photo.png', tinyPng)).status).toBe(404)
  // The page is there.
  expect((await send('/', [file(tinyPng)])).status).toBe(405)
  expect((await put('/', tinyPng)).status).toBe(405)
  await expectNothing()
})

test('only those are there that ADAPTERS names', async () => {
  await start({ ADAPTERS: 'picgo, lsky' })
  expect((await send('/upload', [file(tinyPng)])).status).toBe(200)
  expect((await send('/api/v1/upload', [file(tinyPng, 'file')])).status).toBe(200)
  expect((await send('/api/1/upload', [file(tinyPng, 'source')])).status).toBe(404)
  expect((await put('/photo.png', tinyPng)).status).toBe(404)
})

describe('what was there before stays as it is', () => {
  test.each([
    ['GET', '/', 200],
    ['GET', '/nowhere', 404],
    ['PUT', '/incoming/x.png', 403],
    ['PUT', '/api/upload', 405],
    ['PUT', '/a/b', 404],
    ['DELETE', '/upload', 405],
    ['DELETE', '/', 405],
    ['GET', `/${'x'.repeat(300)}`, 404],
  ])('%s %s is %i', async (method, path, status) => {
    await start()
    expect((await fetch(app.url + path, { method, headers: { authorization } })).status).toBe(status)
  })
})

describe('a key', () => {
  const basic = (pair: string) => ({ Authorization: `Basic ${Buffer.from(pair).toString('base64')}` })

  test.each([
    ['/api/1/upload', { 'X-API-Key': apiKey }, 200],
    [`/api/1/upload?key=${apiKey}`, {}, 200],
    [`/api/1/upload?a=b&k%65y=${apiKey}`, {}, 200],
    [`/upload?key=${apiKey}`, {}, 200],
    ['/', basic(`:${apiKey}`), 200],
    ['/', basic(`name:${apiKey}`), 200],
    ['/', basic(`${apiKey}:`), 401],
    ['/', basic(apiKey), 200],
    [`/?key=${apiKey}`, {}, 401],
    ['/', { 'X-API-Key': apiKey }, 401],
    [`/api/v1/upload?key=${apiKey}`, {}, 401],
    ['/api/v1/upload', { 'X-API-Key': apiKey }, 401],
    ['/upload', basic(`:${apiKey}`), 401],
    [`/upload?key=${apiKey}&key=${apiKey}`, {}, 401],
    // The one in the header counts.
    [`/upload?key=${apiKey}`, { Authorization: 'Bearer wrong' }, 401],
    [`/api/upload?key=${apiKey}`, { 'X-API-Key': apiKey }, 401],
    ['/v1/files/uploads', basic(`:${apiKey}`), 401],
  ])('at %s with %j is answered with %i, and is nowhere in the log', async (path, headers, status) => {
    const lines: string[] = []
    await start({ LOG_LEVEL: 'trace' }, { onLog: (line) => lines.push(line) })
    const name = { '/api/1/upload': 'source' }[path.split('?')[0] ?? ''] ?? 'file'
    const answer = await send(path, [file(tinyPng, name)], { Authorization: '', ...headers } as Headers)
    expect({ status: answer.status, body: String(answer.body) }).toMatchObject({ status })
    await eventually(() => lines.some((line) => line.includes('"msg":"request')))
    const log = lines.join('')
    expect(log).not.toContain(apiKey)
    expect(log).not.toContain('test-key')
    expect(log).not.toContain(Buffer.from(`:${apiKey}`).toString('base64').slice(4, -4))
  })

  test.each([
    ['/api/1/upload', 'X-API-Key', 'Bearer realm="layover"'],
    ['/upload', '?key=', 'Bearer realm="layover"'],
    ['/', 'HTTP Basic', 'Bearer realm="layover", Basic realm="layover"'],
  ])(
    'in a field at %s is refused before a byte is read, and the text says where it belongs',
    async (path, where, challenge) => {
      await start()
      const socket = await openSocket(app.port)
      const form = multipartBody([field('key', apiKey), file(tinyPng)])
      socket.write(formHead(path, form, { Authorization: '', Expect: '100-continue' }))
      const answer = await new Promise<string>((resolve) => {
        let all = ''
        socket.on('data', (bytes) => {
          all += bytes
          if (all.includes('No key came')) resolve(all)
        })
      })
      expect(answer).toMatch(/^HTTP\/1\.1 401 /)
      expect(answer).toContain(where)
      expect(answer.toLowerCase()).toContain(`www-authenticate: ${challenge}`.toLowerCase())
      socket.destroy()
    },
  )

  test('is wanted before anything else is looked at', async () => {
    await start()
    const nobody = { Authorization: '' }
    expect((await put('/x.png', tinyPng, { ...nobody, 'Max-Downloads': 1 })).status).toBe(401)
    const json = { ...nobody, 'Content-Type': 'application/json', 'Content-Length': 2 }
    expect((await exchange(app.port, requestHead('POST /upload', json), '{}')).status).toBe(401)
  })

  test('has its rate, in which a request counts once however many files it has', async () => {
    await start({ RATE_LIMIT: '2/1h' })
    for (const status of [200, 200, 429])
      expect((await send('/upload', [file(tinyPng), file(tinyPng)])).status).toBe(status)
    expect((await send('/api/upload', [file(tinyPng, 'file')])).status).toBe(429)
  })
})

test('a client’s file name makes no line of the log', async () => {
  const lines: string[] = []
  await start({}, { onLog: (line) => lines.push(line) })
  for (const path of ['/canary7f3a.png', '/..%2fcanary7f3a', `/canary7f3a${'x'.repeat(900)}`])
    expect((await put(path, tinyPng)).status).toBe(200)
  await put('/canary7f3a', text)
  await eventually(() => lines.filter((line) => line.includes('"path":"/…"')).length === 4)
  expect(lines.join('')).not.toContain('canary')
  expect((await app.files()).every((name) => /^[0-9a-z]{53}\.png$/.test(name))).toBe(true)
})

describe.each(several)('several files by $name', ({ name, path, urls }) => {
  test('are stored and answered in their order', async () => {
    await start()
    const images = [pngOfSize(100), pngOfSize(300 * 1024), pngOfSize(200)]
    const answer = await send(path, [
      file(images[0] ?? text),
      field('a', 'b'),
      ...images.slice(1).map((i) => file(i)),
    ])
    expect(answer.status).toBe(200)
    const found = urls(String(answer.body))
    expect(found).toHaveLength(3)
    for (const [index, url] of found.entries())
      expect(Buffer.from(await (await fetch(app.url + new URL(url).pathname)).arrayBuffer())).toEqual(
        images[index],
      )
    expect(await app.files()).toHaveLength(3)
  })

  test('of which some are bad lose none of the others, and say which', async () => {
    await start({ MAX_FILE_SIZE: '100KB' })
    const bad = [
      text,
      Buffer.alloc(0),
      pngOfSize(100 * 1024 + 1),
      pngHeader(0, 1),
      Buffer.from('GIF89a<script>'),
    ]
    const parts = [tinyPng, ...bad, tinyPng].map((content) => file(content))
    const answer = await send(path, parts)
    const body = String(answer.body)
    expect(answer.status).toBe(207)
    expect(urls(body)).toHaveLength(2)
    expect(await app.files()).toHaveLength(2)
    if (name === 'plain') {
      const errors = body.split('\n').slice(1, 6)
      for (const [index, line] of errors.entries())
        expect(line).toMatch(new RegExp(`^error: file ${index + 2}: \\S.*\\.$`))
    } else
      expect(JSON.parse(body)).toMatchObject({
        success: false,
        message: expect.stringContaining('file 2: The bytes'),
        errors: [
          'format_unsupported',
          'file_empty',
          'file_too_large',
          'image_dimensions',
          'image_invalid',
        ].map((code, index) => ({ file: index + 2, code })),
      })
  })

  test('that are all bad have the status of the first, and one alone its usual refusal', async () => {
    await start()
    const both = await send(path, [file(text), file(Buffer.alloc(0))])
    expect([both.status, urls(String(both.body))]).toEqual([415, []])
    expect(String(both.body)).toMatch(/file 1: .*file 2: /s)
    const one = await send(path, [file(text)])
    expect(one.status).toBe(415)
    expect(String(one.body)).not.toContain('file 1')
    await expectNothing()
  })

  test('count for the quota each, and one that does not fit is refused alone', async () => {
    await start({ QUOTA: '150KB' })
    const parts = [100, 100, 40].map((size) => file(pngOfSize(size * 1024)))
    const answer = await send(path, parts)
    expect(answer.status).toBe(207)
    expect(String(answer.body)).toMatch(/file 2: The quota/)
    expect(await used()).toBe(140 * 1024)
    expect(await app.files()).toHaveLength(2)
  })

  test.each([
    ['is cut off at any place', (body: Buffer, at: number) => body.subarray(0, at)],
    ['has no last boundary', (body: Buffer) => body.subarray(0, -6)],
  ])('leave nothing, and charge nothing, if their form %s', async (_how, cut) => {
    await start({ QUOTA: '100MB' })
    const form = multipartBody([file(tinyPng), file(pngOfSize(300 * 1024)), file(tinyPng)])
    const places = [
      1,
      100,
      250,
      500,
      150_000,
      form.body.length - 300,
      form.body.length - 100,
      form.body.length - 3,
    ]
    const all = places.map(async (at) => {
      const body = cut(form.body, at)
      const head = formHead(path, { ...form, body })
      const answer = await exchange(app.port, head, body)
      expect([at, answer.status]).toEqual([at, 400])
    })
    await Promise.all(all)
    await expectNothing()
    expect(await used()).toBe(0)
  })

  test('leave nothing if the client goes before the end of its message, or before the answer', async () => {
    const waiting = Promise.withResolvers<void>()
    let puts = 0
    const wrap = (store: Store) => ({
      ...store,
      put: async (...args: Parameters<Store['put']>) => {
        puts += 1
        if (puts === 2) await waiting.promise
        return store.put(...args)
      },
    })
    await start({ QUOTA: '100MB' }, { wrap })
    const form = multipartBody([file(tinyPng), file(pngOfSize(300 * 1024)), file(tinyPng)])
    const early = await openSocket(app.port)
    early.write(formHead(path, form))
    early.write(form.body.subarray(0, form.body.length - 50))
    // The second file is on the disk by then.
    await eventually(async () => (await app.files()).length > 0)
    early.destroy()
    await expectNothing()

    const late = await openSocket(app.port)
    late.write(formHead(path, form))
    late.write(form.body)
    await eventually(() => puts === 2)
    late.destroy()
    await new Promise((resolve) => setTimeout(resolve, 50))
    waiting.resolve()
    await expectNothing()
    expect(await used()).toBe(0)
  })

  test('wait for the end of their form on the disk, but for the first: twenty small ones take no more memory than one', async () => {
    await start()
    const form = multipartBody(Array.from({ length: 20 }, () => file(tinyPng)))
    const socket = await openSocket(app.port)
    socket.write(formHead(path, form))
    socket.write(form.body.subarray(0, -4))
    await eventually(async () => (await app.files()).length === 19)
    socket.write(form.body.subarray(-4))
    await eventually(async () => {
      const names = await app.files()
      return names.length === 20 && names.every((name) => /^[0-9a-z]{53}\.png$/.test(name))
    })
    socket.destroy()
  })

  test('leave nothing if the store fails at one of them', async () => {
    await start({ QUOTA: '100MB' }, { wrap: failingFrom(3) })
    const answer = await send(path, [file(tinyPng), file(tinyPng), file(tinyPng)])
    expect(answer.status).toBe(503)
    expect(answer.headers['retry-after']).toBe('5')
    expect(String(answer.body)).not.toContain('secret')
    await expectNothing()
    expect(await used()).toBe(0)
  })

  test('leave nothing if they cannot be counted', async () => {
    await start({ QUOTA: '100MB' })
    const { settle } = app.usage
    app.usage.settle = async () => {
      throw new UsageError('gone')
    }
    expect((await send(path, [file(tinyPng), file(tinyPng)])).status).toBe(503)
    app.usage.settle = settle
    await expectNothing()
    expect(await used()).toBe(0)
  })

  test('are twenty at the most, and have five times the largest size together', async () => {
    await start({ MAX_FILE_SIZE: '100KB' })
    const files = Array.from({ length: 21 }, () => file(tinyPng))
    expect((await send(path, files.slice(1))).status).toBe(200)
    await Promise.all((await app.files()).map((name) => app.store.delete(name)))
    const many = await send(path, files)
    expect(many.status).toBe(400)
    expect(String(many.body)).toContain('More than 20 files')

    const large = Array.from({ length: 5 }, () => file(pngOfSize(100 * 1024)))
    expect((await send(path, large)).status).toBe(200)
    await Promise.all((await app.files()).map((name) => app.store.delete(name)))
    const form = multipartBody([...large, file(pngOfSize(90 * 1024))])
    const announced = await exchange(app.port, formHead(path, form, { Expect: '100-continue' }))
    const chunk = `${form.body.length.toString(16)}\r\n`
    const { 'Content-Length': _length, ...rest } = { 'Content-Length': 0, 'Content-Type': form.contentType }
    const head = requestHead(`POST ${path}`, {
      Authorization: authorization,
      ...rest,
      'Transfer-Encoding': 'chunked',
    })
    const inStream = await exchange(app.port, head + chunk, form.body, '\r\n0\r\n\r\n')
    expect([announced.status, inStream.status]).toEqual([413, 413])
    await expectNothing()
  })
})

describe('a form for one file', () => {
  test.each([
    ['/api/1/upload', 'source'],
    ['/api/v1/upload', 'file'],
  ])('at %s takes no second one, and says where the first belongs', async (path, name) => {
    await start()
    const two = await send(path, [file(tinyPng, name), file(tinyPng, name)])
    const none = await send(path, [field('other', 'x')])
    const wrong = await send(path, [file(tinyPng, 'other')])
    expect([two.status, none.status, wrong.status]).toEqual([400, 400, 400])
    for (const { body } of [two, none, wrong]) expect(String(body)).toContain(`\\"${name}\\"`)
    await expectNothing()
  })
})

describe('a lifetime', () => {
  const at = (path: string, ...fields: Part[]) => [path, [...fields, file(tinyPng, 'source')]] as const

  test.each([
    at('/api/1/upload', field('expiration', 'PT5M')),
    at('/api/1/upload?expiration=PT300S'),
    at('/?expires_in=300', field('expires', '1')),
    at('/api/1/upload?expires_in=300', field('expiration', 'nonsense')),
  ])('%s %j', async (path, parts) => {
    const now = Date.UTC(2026, 0, 1)
    await start({ LIFETIME: '1d' }, { now: () => now })
    const answer = await send(path, parts)
    expect(answer.headers['x-layover-expires-at']).toBe(new Date(now + 300_000).toISOString())
  })

  test.each([
    at('/api/1/upload', field('expiration', 'P1Y')),
    at('/api/1/upload', field('expiration', 'P')),
    at('/api/1/upload', field('expiration', 'PT')),
    at('/api/1/upload', field('expiration', 'PT0S')),
    at('/api/1/upload?expiration=5m'),
    at('/', field('expires', '25')),
    at('/', field('expires', '-1')),
    at('/', field('expires', '0')),
    at('/', field('expires', String(Date.UTC(2025, 0, 1)))),
    at('/', field('expires', '9'.repeat(15))),
  ])('%s %j is refused', async (path, parts) => {
    await start({ LIFETIME: '1d' }, { now: () => Date.UTC(2026, 0, 1) })
    const answer = await send(path, parts)
    expect([answer.status, String(answer.body)]).toEqual([
      400,
      expect.stringContaining('at most 86400 seconds'),
    ])
    await expectNothing()
  })

  test.each(['2', '0', '-1', 'x', '1.5'])('Max-Days: %s is refused before the body is read', async (days) => {
    await start({ LIFETIME: '1d' })
    const answer = await put('/x.png', Buffer.of(), {
      'Max-Days': days,
      'Content-Length': 100,
      Expect: '100-continue',
    })
    expect(answer.status).toBe(400)
  })
})

describe('a body that is PUT', () => {
  test('is taken up to the limit exactly, and refused before it is read where its length says so', async () => {
    await start({ MAX_FILE_SIZE: '100KB' })
    expect((await put('/x.png', pngOfSize(100 * 1024))).status).toBe(200)
    expect((await put('/x.png', pngOfSize(100 * 1024 + 1))).status).toBe(413)
    const announced = { 'Content-Length': 400 * 1024, Expect: '100-continue' }
    expect((await put('/x.png', Buffer.of(), announced)).status).toBe(413)
    expect(await app.files()).toHaveLength(1)
  })

  test('leaves nothing if it is empty, no image or cut off', async () => {
    await start()
    const statuses = [await put('/x.png', Buffer.of()), await put('/', text)].map(({ status }) => status)
    expect(statuses).toEqual([400, 415])
    const socket = await openSocket(app.port)
    socket.write(requestHead('PUT /x.png', { Authorization: authorization, 'Content-Length': 400_000 }))
    socket.write(pngOfSize(300 * 1024))
    await eventually(async () => (await app.files()).length > 0)
    socket.destroy()
    await expectNothing()
  })
})

test('a URL is not fetched where nothing is', async () => {
  await start({ URL_FETCH: 'off' })
  const url = 'http://example.com/x.png'
  expect((await send('/', [field('url', url)])).status).toBe(403)
  expect((await send('/api/1/upload', [field('source', url)])).status).toBe(403)
})

test('a URL takes no second place of an upload', async () => {
  await start({ MAX_CONCURRENT_UPLOADS: '1' })
  const url = 'http://127.0.0.1/x.png'
  const answers = [await send('/', [field('url', url)]), await send('/api/1/upload', [field('source', url)])]
  expect(answers.map(({ status }) => status)).toEqual([403, 403])
})

test('a URL that is not public is not fetched either', async () => {
  await start()
  const answer = await send('/', [field('url', 'http://127.0.0.1/healthz')])
  expect([answer.status, String(answer.body)]).toEqual([403, expect.stringMatching(/^The URL leads .*\n$/)])
  const long = await send('/', [field('url', `http://example.com/${'x'.repeat(2100)}`)])
  expect(long.status).toBe(400)
})

describe('with CORS_ORIGIN', () => {
  test.each([
    ['/api/1/upload', 204],
    ['/upload', 204],
    ['/', 204],
    ['/photo.png?a=b', 204],
    ['/a/b', 404],
  ])('a preflight for %s is answered with %i', async (path, status) => {
    await start({ CORS_ORIGIN: 'https://app.example.com' })
    const headers = { origin: 'https://app.example.com', 'access-control-request-method': 'PUT' }
    expect((await fetch(app.url + path, { method: 'OPTIONS', headers })).status).toBe(status)
  })
})
