import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { REASONS } from '../../src/readiness.ts'
import { StorageFull, type Store, StoreError } from '../../src/store/store.ts'
import { UsageError } from '../../src/usage/usage.ts'
import { type ApiDocument, checker } from '../support/api-document.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { eventually } from '../support/socket.ts'

let app: TestApp | undefined
afterEach(async () => app?.[Symbol.asyncDispose]())

const SECRET = '/srv/disk7 at 10.0.0.7'

/** A server whose store fails its check with this, if with anything. */
async function start({ env = {}, failure }: { env?: Record<string, string>; failure?: () => Error } = {}) {
  const wrap = (store: Store): Store => ({ ...store, check: async () => Promise.reject(failure?.()) })
  app = await startApp({ env, ...(failure && { wrap }) })
  return app
}

/** What `/readyz` says, if the document says the same of its shape. */
async function ask({ url }: TestApp) {
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as ApiDocument
  const response = await fetch(`${url}/readyz`)
  expect(await checker(document)('GET', '/readyz', response.clone())).toEqual([])
  const text = await response.text()
  expect(text).not.toMatch(/disk7|10\.0\.0\.7|password/)
  return { code: response.status, ...JSON.parse(text) }
}

const ok = { status: 'ok' }
const failed = (name: keyof typeof REASONS) => ({ status: 'failed', reason: REASONS[name] })

test('a server that can do all its work says so, check by check', async () => {
  expect(await ask(await start())).toEqual({
    code: 200,
    status: 'ok',
    checks: { store: ok, usage: ok, space: ok },
  })
})

test('without its store it is unavailable, and does not say why in the store’s words', async () => {
  const server = await start({ failure: () => new StoreError(SECRET, { cause: new Error(SECRET) }) })
  expect(await ask(server)).toEqual({
    code: 503,
    status: 'unavailable',
    checks: { store: failed('store'), usage: ok, space: ok },
  })
})

test('where quotas cannot be counted it stays in rotation, as images are served, and says what is wrong', async () => {
  const server = await start()
  Object.assign(server.usage, { check: async () => Promise.reject(new UsageError('password wrong')) })
  expect(await ask(server)).toEqual({
    code: 200,
    status: 'degraded',
    checks: { store: ok, usage: failed('usage'), space: ok },
  })
})

test('below MIN_FREE_SPACE it stays in rotation too', async () => {
  expect(await ask(await start({ env: { MIN_FREE_SPACE: '100000GB' } }))).toEqual({
    code: 200,
    status: 'degraded',
    checks: { store: ok, usage: ok, space: failed('space') },
  })
})

test('a disk without room for one more file still serves what is on it', async () => {
  expect(await ask(await start({ failure: () => new StorageFull(SECRET) }))).toMatchObject({
    code: 200,
    checks: { store: ok, space: failed('space') },
  })
})

test('counts that never answer do not keep those who ask waiting', async () => {
  const server = await start()
  Object.assign(server.usage, { check: () => new Promise(() => {}) })
  const begun = performance.now()
  expect(await ask(server)).toMatchObject({ code: 200, status: 'degraded' })
  expect(performance.now() - begun).toBeLessThan(8000)
})

test('a check that has not ended is begun no second time, and fails until it has', {
  timeout: 30_000,
}, async () => {
  const server = await start()
  const begun: PromiseWithResolvers<void>[] = []
  const check = () => {
    const work = Promise.withResolvers<void>()
    begun.push(work)
    return work.promise
  }
  Object.assign(server.usage, { check })
  const look = () => ask(server)
  const first = look()
  await sleep(1100)
  const second = look()
  expect((await Promise.all([first, second])).map(({ status }) => status)).toEqual(['degraded', 'degraded'])
  for (let i = 0; i < 2; i += 1) {
    await sleep(1100)
    const asked = performance.now()
    expect(await look()).toMatchObject({ code: 200, checks: { store: ok, usage: failed('usage') } })
    expect(performance.now() - asked).toBeLessThan(1000)
  }
  expect(begun).toHaveLength(1)

  begun[0]?.resolve()
  await sleep(1100)
  const next = look()
  await eventually(() => begun.length === 2)
  begun[1]?.resolve()
  expect(await next).toMatchObject({ code: 200, status: 'ok' })
})

test('a check that is slow, but ends in time, has not failed for those who ask meanwhile', async () => {
  const server = await start()
  const work = Promise.withResolvers<void>()
  Object.assign(server.usage, { check: () => work.promise })
  const first = ask(server)
  await sleep(1100)
  const second = ask(server)
  await sleep(100)
  work.resolve()
  expect((await Promise.all([first, second])).map(({ status }) => status)).toEqual(['ok', 'ok'])
})
