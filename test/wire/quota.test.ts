import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { formatKeyFile, newKey } from '../../src/keys/record.ts'
import { UsageError } from '../../src/usage/usage.ts'
import { startApp, type TestApp, type TestAppOptions } from '../support/app.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { eventually, exchange, openSocket, requestHead, uploadHead } from '../support/socket.ts'
import { tempFolder } from '../support/temp-folder.ts'

const MB = 1024 ** 2
const keys = { alice: 'alice-key-of-24-characters', bob: 'bob-key-of-24-characters-x' }
let app: TestApp
let now: number
afterEach(() => app[Symbol.asyncDispose]())

async function start(env: Record<string, string>, more: Partial<TestAppOptions> = {}) {
  now = Date.UTC(2026, 0, 1)
  const API_KEYS = `alice:${keys.alice},bob:${keys.bob}`
  app = await startApp({ env: { API_KEYS, ...env }, now: () => now, ...more })
}

/** Of each image once: to make fifty large ones at once holds the process up for so long that the server in it refuses uploads. */
const forms = new Map<Buffer, ReturnType<typeof uploadOf>>()

function upload(image: Buffer, who: keyof typeof keys = 'alice') {
  const form = forms.get(image) ?? uploadOf(image)
  forms.set(image, form)
  return exchange(app.port, uploadHead(form, `Bearer ${keys[who]}`), form.body)
}

async function usage(who: keyof typeof keys = 'alice') {
  const answer = await fetch(`${app.url}/v1/files/usage`, {
    headers: { authorization: `Bearer ${keys[who]}` },
  })
  return (await answer.json()) as { quota: Record<string, unknown>; rate_limit: unknown }
}

describe('a quota', () => {
  test('of 200 MB takes exactly 20 of 50 images of 10 MB that come at once, and all again when the window is over', async () => {
    await start({ QUOTA: '200MB', QUOTA_WINDOW: '1h' })
    const image = pngOfSize(10 * MB)
    const answers = await Promise.all(Array.from({ length: 50 }, () => upload(image)))
    const refused = answers.filter(({ status }) => status === 429)
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(20)
    expect(refused).toHaveLength(30)
    expect(await app.files()).toHaveLength(20)
    for (const { headers, body } of refused) {
      expect(Number(headers['retry-after'])).toBeGreaterThan(0)
      expect(JSON.parse(String(body)).message).toContain(String(200 * MB))
    }
    expect((await usage()).quota).toMatchObject({
      limit: 200 * MB,
      used: 200 * MB,
      reserved: 0,
      window_seconds: 3600,
    })

    now += 3600_000 - 1000
    expect((await upload(image)).status).toBe(429)
    // Which no waiting would help.
    expect((await upload(pngOfSize(20 * MB))).status).toBe(429)
    now += 60_000
    expect((await upload(image)).status).toBe(200)
    expect((await usage()).quota).toMatchObject({ used: 10 * MB, free_at: expect.any(String) })
  })

  test('is each key’s own, and counts neither what is refused nor what fails nor what is broken off', async () => {
    let isFailing = false
    let [reached, go] = [() => {}, Promise.resolve()]
    await start(
      { QUOTA: '300KB' },
      {
        wrap: (store) => ({
          ...store,
          put: async (...args) => {
            if (isFailing) throw new Error('disk')
            reached()
            await go
            return store.put(...args)
          },
        }),
      },
    )

    /** A client that leaves while its image is being stored. */
    async function breakOff(image: Buffer) {
      const { promise: atStore, resolve } = Promise.withResolvers<void>()
      const { promise: gone, resolve: goOn } = Promise.withResolvers<void>()
      ;[reached, go] = [resolve, gone]
      const form = uploadOf(image)
      const socket = await openSocket(app.port)
      socket.write(uploadHead(form, `Bearer ${keys.alice}`))
      socket.write(form.body)
      await atStore
      expect((await usage()).quota).toMatchObject({ used: 0, reserved: image.length })
      socket.destroy()
      // The server is told of it.
      await new Promise((resolve) => setTimeout(resolve, 200))
      goOn()
      await eventually(async () => (await usage()).quota.reserved === 0)
      ;[reached, go] = [() => {}, Promise.resolve()]
      // The temp file goes after the reservation has.
      await eventually(async () => (await app.files()).length === 0)
    }

    const image = pngOfSize(200 * 1024)
    isFailing = true
    expect((await upload(image)).status).toBe(500)
    isFailing = false
    expect((await upload(Buffer.from('no image'))).status).toBe(415)
    await breakOff(image)
    expect((await usage()).quota).toMatchObject({ used: 0, reserved: 0 })
    expect((await upload(image)).status).toBe(200)
    expect((await upload(image)).status).toBe(429)
    expect((await upload(image, 'bob')).status).toBe(200)
    expect((await upload(tinyPng)).status).toBe(200)
  })

  test('counts 4 KB for an image that is smaller: tiny ones do not get around it, however many', async () => {
    await start({ QUOTA: '12KB', PRESIGN_LIFETIME: '15m' })
    expect((await upload(tinyPng)).status).toBe(200)
    expect((await usage()).quota).toMatchObject({ used: 4096, reserved: 0 })
    const order = { content_type: 'image/png', size: tinyPng.length }
    const link = await fetch(`${app.url}/v1/files/uploads/presign`, {
      method: 'POST',
      headers: { authorization: `Bearer ${keys.alice}`, 'content-type': 'application/json' },
      body: JSON.stringify(order),
    })
    expect(link.status).toBe(200)
    expect((await usage()).quota).toMatchObject({ used: 4096, reserved: 4096 })
    expect((await upload(tinyPng)).status).toBe(200)
    const refused = await upload(tinyPng)
    expect(refused.status).toBe(429)
    expect(JSON.parse(String(refused.body)).message).toContain('this upload counts as 4096')
    // The key of a quota that has room for a block and a byte.
    await app[Symbol.asyncDispose]()
    await start({ QUOTA: '4097B' })
    expect((await upload(pngOfSize(4097))).status).toBe(200)
    expect((await usage()).quota).toMatchObject({ used: 4097 })
  })

  test('that is smaller than an image says that no waiting helps', async () => {
    await start({ QUOTA: '100KB' })
    const refused = await upload(pngOfSize(200 * 1024))
    expect({ status: refused.status, after: refused.headers['retry-after'] }).toEqual({
      status: 413,
      after: undefined,
    })
  })

  test('that cannot be counted fails the upload, and leaves nothing', async () => {
    await start({ QUOTA: '1MB' })
    const { usage } = app
    const settle = usage.settle
    Object.assign(usage, { settle: () => Promise.reject(new UsageError('gone')) })
    expect((await upload(tinyPng)).status).toBe(503)
    expect(await app.files()).toEqual([])
    Object.assign(usage, { settle })
    expect((await upload(tinyPng)).status).toBe(200)
  })

  test('without one, anything goes, and usage says so', async () => {
    await start({})
    expect((await upload(tinyPng)).status).toBe(200)
    expect(await usage()).toEqual({
      quota: { limit: null, used: 0, reserved: 0, window_seconds: 86_400, free_at: null },
      rate_limit: null,
    })
  })
})

test('the users of a gateway have their quota, rate and images whichever of their keys they send', async () => {
  const users: Record<string, string> = { 'ann-1': 'ann', 'sk-ann-1': 'ann', 'ann-2': 'ann', 'bob-1': 'bob' }
  await using gateway = await startGateway()
  gateway.answer = (key, _request, response) =>
    response.writeHead(users[key] ? 200 : 401, { 'X-User-Id': users[key] ?? '' }).end()
  await start({
    ...{ QUOTA: '300KB', RATE_LIMIT: '5/1m', API_KEYS: '' },
    ...{ AUTH_UPSTREAM_URL: gateway.url, AUTH_UPSTREAM_IDENTITY: 'header:x-user-id' },
  })
  const form = uploadOf(pngOfSize(200 * 1024))
  const send = (key: string) => exchange(app.port, uploadHead(form, `Bearer ${key}`), form.body)
  const call = (key: string, path = '', method = 'GET') =>
    fetch(`${app.url}/v1/files/uploads${path}`, { method, headers: { authorization: `Bearer ${key}` } })

  const { status, headers } = await send('ann-1')
  expect(status).toBe(200)
  expect((await send('sk-ann-1')).status).toBe(429)
  expect((await send('bob-1')).status).toBe(200)
  const path = `/${headers['x-layover-id']}`
  expect((await call('bob-1', path)).status).toBe(404)
  expect((await call('ann-2', path)).status).toBe(200)
  expect((await call('ann-2', path, 'DELETE')).status).toBe(200)
  expect((await call('ann-1')).headers.get('ratelimit-remaining')).toBe('0')
  expect((await call('sk-ann-1')).status).toBe(429)
  expect((await call('bob-1')).status).toBe(200)
})

describe('a rate limit', () => {
  const ask = (authorization?: string) =>
    fetch(`${app.url}/v1/files/uploads`, authorization ? { headers: { authorization } } : {})

  test('takes so many requests of a key in its window, says how many are left, and counts each key alone', async () => {
    await start({ RATE_LIMIT: '3/1m' })
    const alice = `Bearer ${keys.alice}`
    for (const left of [2, 1, 0]) {
      const answer = await ask(alice)
      expect(answer.status).toBe(200)
      expect(answer.headers.get('ratelimit-limit')).toBe('3')
      expect(answer.headers.get('ratelimit-remaining')).toBe(String(left))
      expect(Number(answer.headers.get('ratelimit-reset'))).toBeGreaterThan(0)
    }
    const refused = await ask(alice)
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.json()).toMatchObject({ error: { code: 'rate_limited', type: 'rate_limit_error' } })
    expect((await upload(tinyPng)).status).toBe(429)
    expect((await ask(`Bearer ${keys.bob}`)).status).toBe(200)
    now += 60_000
    expect((await ask(alice)).status).toBe(200)
  })

  test('ends guessing from an address, which shuts out no key that is good', async () => {
    await start({ RATE_LIMIT: '12/1m' })
    for (let i = 0; i < 12; i += 1) expect((await ask(`Bearer guess-${i}`)).status).toBe(401)
    const refused = await ask('Bearer guess-again')
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([429, true])
    expect((await ask()).status).toBe(429)
    // Neither of the two was let in before.
    expect((await ask(`Bearer ${keys.alice}`)).status).toBe(200)
    const { status, body } = await upload(tinyPng, 'bob')
    expect(status).toBe(200)
    const { pathname } = new URL(JSON.parse(String(body)).data)
    for (let i = 0; i < 20; i += 1) expect((await fetch(app.url + pathname)).status).toBe(200)
    expect((await ask('Bearer guess-again')).status).toBe(429)
    now += 60_000
    expect((await ask('Bearer guess-again')).status).toBe(401)
  })

  test('counts no more of the guesses from an address that is shut out', async () => {
    await start({ RATE_LIMIT: '1/1m' })
    expect((await ask('Bearer guess')).status).toBe(401)
    const count = vi.spyOn(app.usage, 'count')
    for (let i = 0; i < 20; i += 1) expect((await ask(i % 2 ? 'Bearer guess' : undefined)).status).toBe(429)
    expect(count).not.toHaveBeenCalled()
  })

  test('counts a key that has expired as no guess', async () => {
    await using folder = await tempFolder()
    const { key, record } = newKey('old', Date.now())
    const good = newKey('good', Date.now())
    const expires = new Date(0).toISOString()
    await writeFile(join(folder.path, 'keys.json'), formatKeyFile([{ ...record, expires }, good.record]))
    await start({ RATE_LIMIT: '3/1m', API_KEYS: '' }, { dataDir: folder.path })
    for (let i = 0; i < 5; i += 1) {
      const refused = await ask(`Bearer ${key}`)
      expect(refused.status).toBe(401)
      expect(await refused.json()).toMatchObject({ error: { code: 'key_expired' } })
    }
    for (let i = 0; i < 3; i += 1) expect((await ask('Bearer guess')).status).toBe(401)
    expect((await ask('Bearer guess')).status).toBe(429)
    expect((await ask(`Bearer ${key}`)).status).toBe(401)
    expect((await ask(`Bearer ${good.key}`)).status).toBe(200)
    await app[Symbol.asyncDispose]()
  })

  describe('with a gateway', () => {
    let gateway: Gateway
    beforeEach(async () => {
      gateway = await startGateway()
      await start({ RATE_LIMIT: '3/1m', API_KEYS: '', AUTH_UPSTREAM_URL: gateway.url })
    })
    afterEach(() => gateway[Symbol.asyncDispose]())

    test('does not count the failures of the gateway: its users are let in when it is back', async () => {
      const { answer } = gateway
      gateway.answer = (_key, _request, response) => response.writeHead(500).end()
      for (let i = 0; i < 10; i += 1) expect((await ask('Bearer good-key')).status).toBe(503)
      gateway.answer = answer
      expect((await ask('Bearer good-key')).status).toBe(200)
    })

    test('asks it nothing for an address that has guessed, but for keys that it accepted before', async () => {
      expect((await ask('Bearer good-old')).status).toBe(200)
      for (let i = 0; i < 3; i += 1) expect((await ask(`Bearer bad-${i}`)).status).toBe(401)
      const before = gateway.asked.length
      const refused = await ask('Bearer good-new')
      expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([429, true])
      expect((await ask('Bearer bad-new')).status).toBe(429)
      expect((await ask('Bearer good-old')).status).toBe(200)
      expect(gateway.asked.length).toBe(before)
    })

    test('counts the guesses of clients that leave before it answers', async () => {
      const asked = Promise.withResolvers<void>()
      let waiting = 0
      const { promise: left, resolve: goOn } = Promise.withResolvers<void>()
      gateway.answer = async (_key, _request, response) => {
        waiting += 1
        if (waiting === 3) asked.resolve()
        await left
        response.writeHead(401).end()
      }
      const sockets = await Promise.all([1, 2, 3].map(() => openSocket(app.port)))
      for (const [i, socket] of sockets.entries())
        socket.write(requestHead('GET /v1/files/uploads', { Authorization: `Bearer bad-${i}` }))
      await asked.promise
      for (const socket of sockets) socket.destroy()
      // The server is told of it.
      await new Promise((resolve) => setTimeout(resolve, 200))
      goOn()
      await eventually(async () => (await ask()).status === 429)
      expect((await ask('Bearer good-new')).status).toBe(429)
    })
  })

  test('that cannot be counted lets nobody in whom it is for, but the server stays ready', async () => {
    await start({ RATE_LIMIT: '3/1m' })
    Object.assign(app.usage, { count: () => Promise.reject(new UsageError('gone')) })
    expect((await ask(`Bearer ${keys.alice}`)).status).toBe(503)
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200)
  })

  test('counts by what a proxy says only if the proxy is trusted', async () => {
    const guess = (address: string, key = 'guess') =>
      fetch(`${app.url}/v1/files/uploads`, {
        headers: { 'x-forwarded-for': address, authorization: `Bearer ${key}` },
      })
    await start({ RATE_LIMIT: '1/1m' })
    expect((await guess('192.0.2.1')).status).toBe(401)
    expect((await guess('192.0.2.2')).status).toBe(429)
    await app[Symbol.asyncDispose]()
    await start({ RATE_LIMIT: '1/1m', TRUST_PROXY: 'loopback' })
    expect((await guess('192.0.2.1')).status).toBe(401)
    expect((await guess('192.0.2.2')).status).toBe(401)
    expect((await guess('192.0.2.2')).status).toBe(429)
    // A machine has a whole network of these, and does not learn from another address of it that it has guessed right.
    expect((await guess('2001:db8:1:1::1')).status).toBe(401)
    expect((await guess('2001:db8:1:1::2')).status).toBe(429)
    expect((await guess('2001:db8:1:1::3')).status).toBe(429)
    expect((await guess('2001:db8:1:2::1', keys.alice)).status).toBe(200)
    // Nor what a proxy says is none.
    expect((await guess('::1%eth0')).status).toBe(401)
  })
})
