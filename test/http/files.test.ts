import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, sha256, tinyPng } from '../support/images.ts'

const keys = { alice: 'alice-key-of-24-characters', bob: 'bob-key-of-24-characters-x' }
type Who = keyof typeof keys
const START = Date.UTC(2026, 0, 2, 3, 4, 5)

let app: TestApp
let now: number
let log: string
beforeEach(async () => {
  now = START
  log = ''
  app = await startApp({
    env: { API_KEYS: `alice:${keys.alice},bob:${keys.bob}`, PUBLIC_URL: 'https://images.example.com' },
    now: () => now,
    onLog: (line) => {
      log += line
    },
  })
})
afterEach(async () => {
  await app[Symbol.asyncDispose]()
  for (const key of Object.values(keys)) expect(log).not.toContain(key)
})

const as = (who: Who) => ({ authorization: `Bearer ${keys[who]}` })

interface Facts {
  id: string
  url: string
  expires_at: string
  delete_url: string
}

async function call(who: Who, path: string, method = 'GET') {
  const response = await fetch(`${app.url}${path}`, { method, headers: as(who) })
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown> & { data: Facts[] },
  }
}

async function upload(who: Who, { file = 'photo.jpg', query = '', path = '/v1/files/uploads' } = {}) {
  const body = new FormData()
  body.append('purpose', 'vision')
  body.append('file', new Blob([new Uint8Array(file === 'tiny' ? tinyPng : fixture(file))]), 'x')
  const response = await fetch(`${app.url}${path}${query}`, { method: 'POST', headers: as(who), body })
  return { status: response.status, headers: response.headers, body: (await response.json()) as Facts }
}

/** Where a URL that names the public address is answered here. */
const here = (url: string) => url.replace('https://images.example.com', app.url)

describe('POST /v1/files/uploads', () => {
  test.each(photos)(
    'answers with the facts about a $format photograph',
    async ({ file, mediaType, extension }) => {
      const { status, body, headers } = await upload('alice', { file })
      expect({ status, body }).toEqual({
        status: 200,
        body: {
          id: expect.stringMatching(/^file_[0-9a-z]{53}$/),
          url: `https://images.example.com/uploads/2026/01/${body.id.slice(5)}.${extension}`,
          mime_type: mediaType,
          size: fixture(file).length,
          expires_at: '2026-01-05T03:04:05.000Z',
          width: expect.any(Number),
          height: expect.any(Number),
          animated: false,
          compatibility: expect.objectContaining({ deepseek: true }),
          delete_url: expect.stringMatching(
            /^https:\/\/images\.example\.com\/delete\/[0-9a-z]{53}\.\w+\?token=[\w-]{22}$/,
          ),
        },
      })
      expect(headers.get('x-layover-id')).toBe(body.id)
      expect(headers.get('x-layover-delete-url')).toBe(body.delete_url)
      const got = await fetch(here(body.url))
      expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(fixture(file)))
    },
  )

  test('refuses in the shape that OpenAI’s clients read', async () => {
    const answer = await fetch(`${app.url}/v1/files/uploads`, { method: 'POST' })
    expect({ status: answer.status, body: await answer.json() }).toEqual({
      status: 401,
      body: {
        error: {
          message: expect.any(String),
          type: 'authentication_error',
          code: 'key_missing',
          param: null,
        },
      },
    })
  })

  test('an image that never expires says so with a date that no client finds too near', async () => {
    await using forever = await startApp({ env: { LIFETIME: 'never', API_KEYS: `alice:${keys.alice}` } })
    const body = new FormData()
    body.append('file', new Blob([new Uint8Array(tinyPng)]), 'x')
    const answer = await fetch(`${forever.url}/v1/files/uploads`, {
      method: 'POST',
      headers: as('alice'),
      body,
    })
    expect(await answer.json()).toMatchObject({ expires_at: '9999-12-31T23:59:59.000Z' })
  })
})

describe('an uploaded image', () => {
  test('is known to its uploader by its id, and to nobody else', async () => {
    const { body } = await upload('alice')
    expect(await call('alice', `/v1/files/uploads/${body.id}`)).toEqual({
      status: 200,
      body: { ...body, expired: false },
    })
    for (const method of ['GET', 'DELETE'])
      expect(await call('bob', `/v1/files/uploads/${body.id}`, method)).toMatchObject({
        status: 404,
        body: { error: { code: 'image_not_found' } },
      })
    expect((await fetch(here(body.url))).status).toBe(200)
  })

  test('that came through /api/upload is known by the id of its header', async () => {
    const { headers } = await upload('alice', { path: '/api/upload' })
    expect((await call('alice', `/v1/files/uploads/${headers.get('x-layover-id')}`)).status).toBe(200)
    expect((await fetch(here(headers.get('x-layover-delete-url') ?? ''), { method: 'DELETE' })).status).toBe(
      200,
    )
  })

  test('is deleted by its uploader, once', async () => {
    const { body } = await upload('alice')
    const path = `/v1/files/uploads/${body.id}`
    expect(await call('alice', path, 'DELETE')).toEqual({ status: 200, body: { id: body.id, deleted: true } })
    expect((await fetch(here(body.url))).status).toBe(404)
    expect((await call('alice', path, 'DELETE')).status).toBe(404)
    expect((await call('alice', path)).status).toBe(404)
  })

  test('is expired when it has expired, before it is swept and after', async () => {
    const { body } = await upload('alice', { query: '?expires_in=60' })
    const path = `/v1/files/uploads/${body.id}`
    now += 60_000
    expect(await call('alice', path)).toMatchObject({ status: 200, body: { expired: true, size: 237_223 } })
    await app.store.delete(new URL(body.url).pathname.split('/').at(-1) ?? '')
    expect(await call('alice', path)).toMatchObject({ status: 200, body: { expired: true, size: null } })
    expect((await call('bob', path)).status).toBe(404)
  })

  test.each(['file_', 'file_x', 'x', `file_${'0'.repeat(53)}`, 'file_..%2f..%2fsecret'])(
    '%s is no id',
    async (id) => {
      expect((await call('alice', `/v1/files/uploads/${id}`)).status).toBe(404)
    },
  )
})

describe('GET /v1/files/uploads', () => {
  test('lists the caller’s own live images, the newest first, page by page', async () => {
    const uploads: Facts[] = []
    for (let i = 0; i < 7; i += 1) {
      // Lives that differ, so that the order of their names is another.
      uploads.push((await upload('alice', { file: 'tiny', query: `?expires_in=${1000 - 100 * i}` })).body)
      await upload('bob', { file: 'tiny' })
      now += 1000
    }
    now = START + 400_000 + 6000
    const live = uploads.slice(0, 6).reverse()
    const first = await call('alice', '/v1/files/uploads?limit=4')
    expect(first.body.data).toEqual(
      live.slice(0, 4).map(({ id, url, expires_at, delete_url }) => ({
        id,
        url,
        mime_type: 'image/png',
        size: 67,
        expires_at,
        delete_url,
        created_at: expect.any(String),
      })),
    )
    expect(first.body).toMatchObject({ object: 'list', has_more: true, last_id: live[3]?.id })
    const second = await call('alice', `/v1/files/uploads?limit=4&after=${live[3]?.id}`)
    expect(second.body.data.map(({ id }) => id)).toEqual(live.slice(4).map(({ id }) => id))
    expect(second.body).toMatchObject({ has_more: false, last_id: live.at(-1)?.id })
  })

  test('of one who has none is empty', async () => {
    await upload('bob')
    expect(await call('alice', '/v1/files/uploads')).toEqual({
      status: 200,
      body: { object: 'list', data: [], has_more: false, last_id: null },
    })
  })

  test('gives each of many images of one second exactly once', async () => {
    const ids = await Promise.all(
      Array.from({ length: 25 }, async () => (await upload('alice', { file: 'tiny' })).body.id),
    )
    const seen: string[] = []
    let after = ''
    for (let page = 0; page < 9; page += 1) {
      const { body } = await call('alice', `/v1/files/uploads?limit=3${after && `&after=${after}`}`)
      seen.push(...body.data.map(({ id }) => id))
      after = String(body.last_id)
      expect(body.has_more).toBe(page < 8)
    }
    expect(seen.sort()).toEqual(ids.sort())
  })

  test.each(['limit=0', 'limit=101', 'limit=x', 'after=', 'after=file_x'])(
    '?%s is refused',
    async (query) => {
      expect(await call('alice', `/v1/files/uploads?${query}`)).toMatchObject({
        status: 400,
        body: { error: { code: 'cursor_invalid' } },
      })
    },
  )
})

describe('a delete link', () => {
  test('asks when it is opened, as link previews open it too, and deletes when it is told to', async () => {
    const { body } = await upload('alice')
    const link = here(body.delete_url)
    const page = await fetch(link)
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'.*frame-ancestors 'none'/)
    expect(page.headers.get('cache-control')).toBe('no-store')
    expect(await page.text()).toContain('<form method="post">')
    expect((await fetch(link, { method: 'HEAD' })).status).toBe(200)
    expect((await fetch(here(body.url))).status).toBe(200)

    const form = {
      method: 'POST',
      headers: { accept: 'text/html', 'content-type': 'application/x-www-form-urlencoded' },
    }
    const done = await fetch(link, form)
    expect({ status: done.status, text: await done.text() }).toEqual({
      status: 200,
      text: expect.stringContaining('deleted'),
    })
    expect((await fetch(here(body.url))).status).toBe(404)
    expect((await fetch(link)).status).toBe(404)
  })

  test('answers programs with JSON', async () => {
    const { body } = await upload('alice')
    const answer = await fetch(here(body.delete_url), { method: 'DELETE' })
    expect(await answer.json()).toEqual({ id: body.id, deleted: true })
  })

  test('works for its own image alone, and its token is in no log', async () => {
    const [mine, other] = [(await upload('alice')).body, (await upload('alice')).body]
    const token = new URL(mine.delete_url).searchParams.get('token') ?? ''
    const wrong = [
      here(other.delete_url).replace(/token=.*/, `token=${token}`),
      here(mine.delete_url).replace(/token=.*/, ''),
      here(mine.delete_url).slice(0, -1),
      `${here(mine.delete_url)}&token=${token}`,
    ]
    for (const link of wrong) {
      expect((await fetch(link)).status).toBe(404)
      expect((await fetch(link, { method: 'POST' })).status).toBe(404)
    }
    // A link that a client has mangled is in the log without its token too.
    expect((await fetch(here(mine.delete_url).replace('?', ';'))).status).toBe(404)
    expect((await fetch(here(mine.delete_url), { method: 'POST' })).status).toBe(200)
    expect((await fetch(here(other.url))).status).toBe(200)
    expect(log).toContain('/delete/')
    expect(log).not.toContain(token)
  })
})
