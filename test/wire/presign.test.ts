import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isLeftover } from '../../src/presign/times.ts'
import { sweep } from '../../src/sweeper.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, sha256, tinyPng } from '../support/images.ts'
import { eventually } from '../support/socket.ts'
import { tempSpool } from '../support/temp-folder.ts'

/** Whether links lead to a bucket, which refuses in words of its own and knows nothing of what was sent before. */
const isDirect = process.env.TEST_STORE !== undefined

interface Link {
  id: string
  upload_url: string
  url: string
  headers: Record<string, string>
  upload_expires_at: string
}

let app: TestApp
let log: string
async function start(env: Record<string, string> = {}) {
  log = ''
  app = await startApp({
    env,
    onLog: (line) => {
      log += line
    },
  })
}
beforeEach(() => start())
afterEach(() => app[Symbol.asyncDispose]())

async function restart(env: Record<string, string>) {
  await app[Symbol.asyncDispose]()
  await start(env)
}

async function call(path: string, { method = 'POST', body }: { method?: string; body?: object } = {}) {
  const headers = { authorization, ...(body && { 'content-type': 'application/json' }) }
  const response = await fetch(`${app.url}${path}`, {
    method,
    headers,
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Link & { error?: { code: string } } }
}

async function presign(bytes: Buffer, { content_type = 'image/png', ...more } = {}): Promise<Link> {
  const order = { filename: 'x.png', content_type, size: bytes.length, ...more }
  const { status, body } = await call('/v1/files/uploads/presign', { body: order })
  expect({ status, body }).toMatchObject({ status: 200 })
  return body
}

/** What curl -X PUT -T does. */
async function send(url: string, bytes: Buffer, type = 'image/png') {
  const body = new Uint8Array(bytes)
  const response = await fetch(url, { method: 'PUT', headers: { 'content-type': type }, body })
  const text = await response.text()
  return { status: response.status, code: isDirect ? '' : (text && JSON.parse(text).error.code) || '' }
}

const fetched = async (url: string) => {
  const response = await fetch(url)
  return { status: response.status, bytes: Buffer.from(await response.arrayBuffer()) }
}
const complete = ({ id }: Link) => call(`/v1/files/uploads/${id}/complete`)

/** Removes what is of no more use when all links have run out. */
async function sweepLater() {
  await using folder = await tempSpool()
  const isOver = (key: string, now: number) => isLeftover(key, app.config, now)
  const incoming = app.area && { store: app.area.store, isOver }
  const now = Date.now() + 3_600_000
  return sweep({ store: app.store, incoming, spool: folder.spool, now, onError: fail })
}

const fail = (error: unknown) => {
  throw error
}

/** An image of the same size and type, but another one. */
function twin(bytes: Buffer): Buffer {
  const other = Buffer.from(bytes)
  other[other.length - 20] = (other[other.length - 20] ?? 0) ^ 1
  return other
}

test.each(photos)(
  'a $format photograph that is sent to its link can be fetched',
  async ({ file, mediaType }) => {
    const bytes = fixture(file)
    const before = Date.now()
    const link = await presign(bytes, { content_type: mediaType })
    expect(link).toStrictEqual({
      id: expect.stringMatching(/^file_[0-9a-z]{53}$/),
      upload_url: expect.stringMatching(/^http:\/\//),
      url: expect.stringContaining(`${link.id.slice(5)}.`),
      method: 'PUT',
      headers: { 'Content-Type': mediaType, 'Content-Length': String(bytes.length) },
      mime_type: mediaType,
      size: bytes.length,
      expires_at: expect.stringMatching(/Z$/),
      upload_expires_at: expect.stringMatching(/Z$/),
    })
    const minutes = (Date.parse(link.upload_expires_at) - before) / 60_000
    expect(minutes).toBeGreaterThan(14.9)
    expect(minutes).toBeLessThan(15.1)
    expect(new URL(link.upload_url).port === String(app.port)).toBe(!isDirect)
    expect(await fetched(link.url)).toMatchObject({ status: 404 })

    expect(await send(link.upload_url, bytes, mediaType)).toEqual({ status: 200, code: '' })
    // Models' fetchers ask with HEAD first.
    const head = await fetch(link.url, { method: 'HEAD' })
    expect({ status: head.status, type: head.headers.get('content-type') }).toEqual({
      status: 200,
      type: mediaType,
    })
    expect(head.headers.get('content-length')).toBe(String(bytes.length))
    const { status, bytes: got } = await fetched(link.url)
    expect({ status, hash: sha256(got) }).toEqual({ status: 200, hash: sha256(bytes) })
    expect(await app.files()).toEqual([link.url.split('/').at(-1)])
  },
)

describe('a link refuses, and nothing can be fetched, when', () => {
  const png = fixture('photo.png')
  const cases: {
    what: string
    bytes?: Buffer
    type?: string
    url?: (url: string) => string
    code: string
  }[] = [
    { what: 'fewer bytes come', bytes: png.subarray(0, -1), code: 'upload_mismatch' },
    { what: 'more bytes come', bytes: Buffer.concat([png, Buffer.of(0)]), code: 'upload_mismatch' },
    { what: 'none come', bytes: Buffer.of(), code: 'upload_mismatch' },
    { what: 'they are called another type of image', type: 'image/jpeg', code: 'upload_mismatch' },
    { what: 'they are called HTML', type: 'text/html', code: 'upload_mismatch' },
    { what: 'its end is changed', url: (url) => flipped(url, -1), code: 'upload_link_wrong' },
    { what: 'its signature is cut off', url: (url) => url.slice(0, -2), code: 'upload_link_wrong' },
    { what: 'it has no query', url: (url) => url.replace(/\?.*/, ''), code: 'upload_link_wrong' },
    {
      what: 'it names another image',
      url: (url) => flipped(url, url.search(/[0-9a-z]{53}/) + 20),
      code: 'upload_link_wrong',
    },
  ]
  test.each(cases)('$what', async ({ bytes = png, type = 'image/png', url = (url) => url, code }) => {
    const link = await presign(png)
    const answer = await send(url(link.upload_url), bytes, type)
    if (isDirect) expect([400, 403]).toContain(answer.status)
    else expect(answer).toEqual({ status: 403, code })
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
    expect(await complete(link)).toMatchObject({ status: 404, body: { error: { code: 'upload_missing' } } })
    expect(await app.files()).toEqual([])
    // It is still good for what it was made for.
    expect(await send(link.upload_url, png)).toMatchObject({ status: 200 })
    expect(await fetched(link.url)).toMatchObject({ status: 200 })
  })

  test('its time is over', async () => {
    await restart({ PRESIGN_LIFETIME: '1s' })
    const link = await presign(png)
    await new Promise((resolve) => setTimeout(resolve, 2100))
    const { status, code } = await send(link.upload_url, png)
    expect({ status, code }).toEqual({ status: 403, code: isDirect ? '' : 'upload_link_expired' })
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
    expect(await app.files()).toEqual([])
  })

  test('its body has no length', async () => {
    const link = await presign(png)
    const body = Readable.toWeb(Readable.from([png])) as ReadableStream
    const headers = { 'content-type': 'image/png' }
    const answer = await fetch(link.upload_url, {
      method: 'PUT',
      headers,
      body,
      duplex: 'half',
    } as RequestInit)
    expect(isDirect ? [400, 403, 411, 501] : [403]).toContain(answer.status)
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
    expect(await app.files()).toEqual([])
  })
})

/** The same text with one character changed. */
function flipped(text: string, at: number): string {
  const i = at < 0 ? text.length + at : at
  return text.slice(0, i) + (text[i] === '0' ? '1' : '0') + text.slice(i + 1)
}

test.each([
  ['HTML', Buffer.from('<!doctype html><script>alert(1)</script>'.padEnd(400)), 'format_unsupported'],
  ['a GIF', fixture('photo.gif'), 'upload_mismatch'],
  ['a PNG without width', Buffer.from(fixture('photo.png').fill(0, 16, 20)), 'image_invalid'],
])('%s that says it is a PNG is never served, and is gone', async (_what, bytes, code) => {
  const link = await presign(bytes)
  const sent = await send(link.upload_url, bytes)
  expect(sent.status).toBe(
    isDirect ? 200 : code === 'image_invalid' ? 422 : code === 'upload_mismatch' ? 403 : 415,
  )
  if (!isDirect) expect(sent.code).toBe(code)
  // Who asks to have it completed is told why; to all others it was never there.
  if (isDirect) expect(await complete(link)).toMatchObject({ body: { error: { code } } })
  expect(await fetched(link.url)).toMatchObject({ status: 404 })
  expect(await app.files()).toEqual([])
  expect(await complete(link)).toMatchObject({ status: 404, body: { error: { code: 'upload_missing' } } })
})

test('a GET answers 404 for what was sent and is no image, and leaves nothing of it', async () => {
  const html = Buffer.from('<!doctype html>'.padEnd(5000))
  const link = await presign(html)
  await send(link.upload_url, html)
  expect(await app.files()).toHaveLength(isDirect ? 1 : 0)
  expect(await fetched(link.url)).toMatchObject({ status: 404 })
  expect(await app.files()).toEqual([])
})

describe('whatever is sent later', () => {
  const png = fixture('photo.png')
  const other = twin(png)

  test('changes no image that is served, and is swept', async () => {
    const link = await presign(png)
    await send(link.upload_url, png)
    await fetched(link.url)
    const second = await send(link.upload_url, other)
    expect(second).toEqual(isDirect ? { status: 200, code: '' } : { status: 409, code: 'upload_done' })
    expect(sha256((await fetched(link.url)).bytes)).toBe(sha256(png))
    expect(await complete(link)).toMatchObject({ status: 200, body: { id: link.id, width: 480 } })
    expect(sha256((await fetched(link.url)).bytes)).toBe(sha256(png))
    expect(await sweepLater()).toMatchObject({ leftovers: isDirect ? 1 : 0, deleted: 0, failed: 0 })
    expect(await app.files()).toEqual([link.url.split('/').at(-1)])
  })

  test('does not bring a deleted image back', async () => {
    const link = await presign(png)
    await send(link.upload_url, png)
    await fetched(link.url)
    expect(await call(`/v1/files/uploads/${link.id}`, { method: 'DELETE' })).toMatchObject({ status: 200 })
    expect((await send(link.upload_url, other)).status).toBe(isDirect ? 200 : 409)
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
    expect(await complete(link)).toMatchObject({ status: 404 })
    await sweepLater()
    expect(await app.files()).toEqual([])
  })

  test('does not bring back an image that was deleted by its link', async () => {
    const link = await presign(png)
    await send(link.upload_url, png)
    const { body } = await complete(link)
    const { delete_url } = body as unknown as { delete_url: string }
    expect((await fetch(delete_url, { method: 'DELETE' })).status).toBe(200)
    await send(link.upload_url, other)
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
  })

  test('a link is taken back by deleting what it was for, before anything came', async () => {
    const link = await presign(png)
    expect(await call(`/v1/files/uploads/${link.id}`, { method: 'DELETE' })).toMatchObject({ status: 200 })
    expect((await send(link.upload_url, png)).status).toBe(isDirect ? 200 : 409)
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
    expect(await complete(link)).toMatchObject({ status: 404, body: { error: { code: 'image_not_found' } } })
  })

  test('an image that nobody has asked for yet can be deleted, too', async () => {
    const link = await presign(png)
    await send(link.upload_url, png)
    expect(await call(`/v1/files/uploads/${link.id}`, { method: 'DELETE' })).toMatchObject({ status: 200 })
    expect(await fetched(link.url)).toMatchObject({ status: 404 })
  })
})

test('what was sent and never asked for is swept when its link has run out, not before', async () => {
  const link = await presign(tinyPng)
  await send(link.upload_url, tinyPng)
  if (!isDirect) return expect(await app.files()).toHaveLength(1)
  await using folder = await tempSpool()
  const isOver = (key: string, now: number) => isLeftover(key, app.config, now)
  const store = app.area?.store ?? expect.unreachable('no area')
  const sweepAt = (now: number) =>
    sweep({
      store: app.store,
      incoming: { store, isOver },
      spool: folder.spool,
      now,
      onError: fail,
    })
  const runsOut = Date.parse(link.upload_expires_at)
  expect(await sweepAt(runsOut)).toMatchObject({ leftovers: 0 })
  expect(await app.files()).toHaveLength(1)
  // Five minutes for what began in time, and one for clocks that differ.
  expect(await sweepAt(runsOut + 361_000)).toMatchObject({ leftovers: 1 })
  expect(await app.files()).toEqual([])
  expect(await fetched(link.url)).toMatchObject({ status: 404 })
})

test('twenty who ask for it at the same moment all get it, once it is sent', async () => {
  const png = fixture('photo.png')
  const link = await presign(png)
  await send(link.upload_url, png)
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetched(link.url)))
  expect(answers.map(({ status, bytes }) => [status, sha256(bytes)])).toEqual(
    answers.map(() => [200, sha256(png)]),
  )
  expect(await app.files()).toEqual([link.url.split('/').at(-1)])
})

describe('the quota', () => {
  const png = fixture('photo.png')
  const usage = async () =>
    ((await call('/v1/files/usage', { method: 'GET' })).body as unknown as { quota: object }).quota

  test('is reserved by the link, and used when the image is there', async () => {
    await restart({ QUOTA: '300KB' })
    const link = await presign(png)
    expect(await usage()).toMatchObject({ reserved: png.length, used: 0 })
    const order = { content_type: 'image/png', size: png.length }
    expect(await call('/v1/files/uploads/presign', { body: order })).toMatchObject({
      status: 429,
      body: { error: { code: 'quota_exceeded' } },
    })
    await send(link.upload_url, png)
    await Promise.all([fetched(link.url), complete(link)])
    expect(await usage()).toMatchObject({ reserved: 0, used: png.length })
    // Asking again counts nothing again.
    await complete(link)
    expect(await usage()).toMatchObject({ reserved: 0, used: png.length })
  })

  test('is free again when nothing has come in time', async () => {
    await restart({ QUOTA: '300KB', PRESIGN_LIFETIME: '1s', UPLOAD_TIMEOUT: '1s' })
    await presign(png)
    expect(await usage()).toMatchObject({ reserved: png.length, used: 0 })
    await eventually(async () => ((await usage()) as { reserved: number }).reserved === 0)
    expect(await usage()).toMatchObject({ used: 0 })
  })
})

test('a key with too many open links is told so, and how to get another', async () => {
  await restart({ MAX_OPEN_LINKS: '2' })
  const [first, second] = [await presign(tinyPng), await presign(tinyPng)]
  const ask = () =>
    fetch(`${app.url}/v1/files/uploads/presign`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ content_type: 'image/png', size: tinyPng.length }),
    })
  const refused = await ask()
  expect(refused.status).toBe(429)
  const wait = Number(refused.headers.get('retry-after'))
  expect(wait).toBeGreaterThan(890)
  expect(wait).toBeLessThanOrEqual(915)
  expect(await refused.json()).toMatchObject({
    error: {
      code: 'links_exceeded',
      message: expect.stringMatching(/2 open upload links.*Send the images.*\d seconds/),
    },
  })
  await call(`/v1/files/uploads/${first.id}`, { method: 'DELETE' })
  // A link to the bucket works until its end, though nothing comes of it.
  if (app.area?.sign === undefined) await presign(tinyPng)
  else expect((await ask()).status).toBe(429)
  await send(second.upload_url, tinyPng)
  await complete(second)
  await presign(tinyPng)
  expect((await ask()).status).toBe(429)
})

test('a link lives no longer than its image', async () => {
  const link = await presign(tinyPng, { expires_in: 60 } as object)
  expect(link.upload_expires_at).toBe((link as unknown as { expires_at: string }).expires_at)
})

test('only the key that asked for the link can complete it', async () => {
  await restart({ API_KEYS: `tester:${authorization.slice(7)},other:another-key-of-24-chars` })
  const link = await presign(tinyPng)
  await send(link.upload_url, tinyPng)
  const headers = { authorization: 'Bearer another-key-of-24-chars' }
  const path = `${app.url}/v1/files/uploads/${link.id}/complete`
  expect((await fetch(path, { method: 'POST', headers })).status).toBe(404)
  expect(await complete(link)).toMatchObject({ status: 200 })
})

test('there are no links with PRESIGN_LIFETIME=0', async () => {
  await restart({ PRESIGN_LIFETIME: '0' })
  const order = { content_type: 'image/png', size: 67 }
  expect(await call('/v1/files/uploads/presign', { body: order })).toMatchObject({
    status: 403,
    body: { error: { code: 'presign_off' } },
  })
})

test.each([
  ['no type', { size: 67 }, 400, 'member_invalid'],
  ['a type that is not taken', { content_type: 'image/svg+xml', size: 67 }, 400, 'member_invalid'],
  ['no size', { content_type: 'image/png' }, 400, 'member_invalid'],
  ['size 0', { content_type: 'image/png', size: 0 }, 400, 'member_invalid'],
  ['half a byte', { content_type: 'image/png', size: 1.5 }, 400, 'member_invalid'],
  ['a size as text', { content_type: 'image/png', size: '67' }, 400, 'member_invalid'],
  ['a byte too many', { content_type: 'image/png', size: 20 * 1024 ** 2 + 1 }, 413, 'file_too_large'],
  [
    'too long a life',
    { content_type: 'image/png', size: 67, expires_in: 999_999 },
    400,
    'expires_in_invalid',
  ],
])('an order with %s is refused', async (_what, body, status, code) => {
  expect(await call('/v1/files/uploads/presign', { body })).toMatchObject({
    status,
    body: { error: { code } },
  })
})

test('no link is in the log', async () => {
  const link = await presign(tinyPng)
  await send(link.upload_url, tinyPng)
  await fetched(link.url)
  const { searchParams } = new URL(link.upload_url)
  const secret = searchParams.get(isDirect ? 'X-Amz-Signature' : 'ticket') ?? expect.unreachable()
  expect(log).toContain('"request"')
  expect(log).not.toContain(secret)
})
