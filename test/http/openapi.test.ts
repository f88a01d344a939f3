import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ApiDocument, checker, type Operation } from '../support/api-document.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { type Origin, startOrigin } from '../support/remote.ts'

const FILES = '/v1/files/uploads'

let app: TestApp
let origin: Origin
let document: ApiDocument
let check: ReturnType<typeof checker>
beforeAll(async () => {
  origin = await startOrigin((_request, response) => response.end(tinyPng))
  app = await startApp({
    env: {
      RATE_LIMIT: '10000/1m',
      CORS_ORIGIN: 'https://app.example.com',
      S3_PRESIGN_ENDPOINT: 'off',
      URL_FETCH_ALLOW: `127.0.0.1:${origin.port}`,
    },
  })
  document = (await (await fetch(`${app.url}/openapi.json`)).json()) as ApiDocument
  check = checker(document)
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
})

const ask = (path: string, init: RequestInit = {}) => fetch(app.url + path, init)
const askWithKey = (path: string, init: RequestInit = {}) =>
  ask(path, { ...init, headers: { authorization, ...init.headers } })

function form(): FormData {
  const body = new FormData()
  body.append('file', new Blob([tinyPng]), 'x.png')
  return body
}

/** A new image: its id, its path, and that of its delete link. */
async function image() {
  const answer = await askWithKey(FILES, { method: 'POST', body: form() })
  const { id, url, delete_url } = (await answer.json()) as Record<string, string>
  const pathOf = (address = '') => address.slice(new URL(address).origin.length)
  return { id, path: pathOf(url), deletePath: pathOf(delete_url) }
}

/** A link to this server, with what is sent to it. */
async function link() {
  const order = JSON.stringify({ content_type: 'image/png', size: tinyPng.length })
  const headers = { 'content-type': 'application/json' }
  const answer = await askWithKey(`${FILES}/presign`, { method: 'POST', headers, body: order })
  const { id, upload_url = '' } = (await answer.clone().json()) as Record<string, string>
  const path = upload_url.slice(new URL(upload_url).origin.length)
  const send = (type = 'image/png') =>
    ask(path, { method: 'PUT', headers: { 'content-type': type }, body: new Uint8Array(tinyPng) })
  return { answer, send, complete: () => askWithKey(`${FILES}/${id}/complete`, { method: 'POST' }) }
}

function operations(): { method: string; path: string; operation: Operation }[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  )
}

const found = (operationId: string) => {
  const one = operations().find(({ operation }) => operation.operationId === operationId)
  if (one === undefined) throw new Error(`${operationId} is not documented`)
  return one
}

/** Each operation, called rightly, and the status of its answer. */
const calls: Record<string, { status?: number; call: () => Promise<Response> }[]> = {
  upload: [{ call: () => askWithKey('/api/upload', { method: 'POST', body: form() }) }],
  createUpload: [{ call: () => askWithKey(FILES, { method: 'POST', body: form() }) }],
  createUploadFromBase64: [
    {
      call: () => {
        const media = found('createUploadFromBase64').operation.requestBody?.content['application/json']
        const { example } = (media?.schema ?? {}) as { example?: unknown }
        const headers = { 'content-type': 'application/json' }
        return askWithKey(`${FILES}/base64`, { method: 'POST', headers, body: JSON.stringify(example) })
      },
    },
  ],
  createUploadFromUrl: [
    {
      call: () => {
        const headers = { 'content-type': 'application/json' }
        const body = JSON.stringify({ url: `http://127.0.0.1:${origin.port}/photo.png`, expires_in: 3600 })
        return askWithKey(`${FILES}/url`, { method: 'POST', headers, body })
      },
    },
  ],
  presignUpload: [{ call: async () => (await link()).answer }],
  completeUpload: [
    {
      call: async () => {
        const { send, complete } = await link()
        await send()
        return complete()
      },
    },
    { status: 404, call: async () => (await link()).complete() },
  ],
  sendToLink: [
    { call: async () => (await link()).send() },
    { status: 403, call: async () => (await link()).send('image/gif') },
    {
      status: 409,
      call: async () => {
        const { send } = await link()
        await send()
        return send()
      },
    },
  ],
  listUploads: [
    { call: () => askWithKey(`${FILES}?limit=1`) },
    { call: async () => askWithKey(`${FILES}?after=${(await image()).id}`) },
  ],
  getCompatibility: [
    { call: async () => askWithKey(`${FILES}/${(await image()).id}/compatibility`) },
    { status: 404, call: () => askWithKey(`${FILES}/x/compatibility`) },
  ],
  getDataUrl: [
    { call: async () => askWithKey(`${FILES}/${(await image()).id}/data-url`) },
    {
      call: async () =>
        askWithKey(`${FILES}/${(await image()).id}/data-url`, { headers: { accept: 'text/plain' } }),
    },
  ],
  getUpload: [{ call: async () => askWithKey(`${FILES}/${(await image()).id}`) }],
  deleteUpload: [{ call: async () => askWithKey(`${FILES}/${(await image()).id}`, { method: 'DELETE' }) }],
  listFetches: [
    { call: async () => askWithKey(`${FILES}/${(await image()).id}/fetches`) },
    {
      call: async () => {
        const { id, path } = await image()
        await (await ask(path)).arrayBuffer()
        return askWithKey(`${FILES}/${id}/fetches`)
      },
    },
  ],
  getUsage: [{ call: () => askWithKey('/v1/files/usage') }],
  getImage: [
    { call: async () => ask((await image()).path) },
    { status: 206, call: async () => ask((await image()).path, { headers: { range: 'bytes=0-9' } }) },
    { status: 304, call: async () => ask((await image()).path, { headers: { 'if-none-match': '*' } }) },
    { status: 412, call: async () => ask((await image()).path, { headers: { 'if-match': '"x"' } }) },
    { status: 416, call: async () => ask((await image()).path, { headers: { range: 'bytes=67-' } }) },
  ],
  headImage: [
    { call: async () => ask((await image()).path, { method: 'HEAD' }) },
    {
      status: 304,
      call: async () => ask((await image()).path, { method: 'HEAD', headers: { 'if-none-match': '*' } }),
    },
    { status: 404, call: async () => ask(`${(await image()).path}x`, { method: 'HEAD' }) },
  ],
  askToDelete: [{ call: async () => ask((await image()).deletePath) }],
  deleteByLink: [
    { call: async () => ask((await image()).deletePath, { method: 'POST' }) },
    {
      call: async () => ask((await image()).deletePath, { method: 'POST', headers: { accept: 'text/html' } }),
    },
    { status: 404, call: () => ask('/delete/x', { method: 'POST' }) },
  ],
  deleteByLinkAtOnce: [{ call: async () => ask((await image()).deletePath, { method: 'DELETE' }) }],
  listClients: [
    { call: () => ask('/clients') },
    { call: () => ask('/clients?lang=zh', { headers: { accept: 'text/html' } }) },
  ],
  getClientFile: [
    { call: () => ask('/clients/sharex/layover.sxcu') },
    { call: () => ask('/clients/python/layover.py') },
    { status: 404, call: () => ask('/clients/sharex/other') },
  ],
  getRobots: [{ call: () => ask('/robots.txt') }],
  getHealth: [{ call: () => ask('/healthz') }],
  getReadiness: [{ call: () => ask('/readyz') }],
}

describe('/openapi.json', () => {
  test('is a valid OpenAPI 3.1 document', async () => {
    expect(document.openapi).toBe('3.1.0')
    expect(await new Validator().validate({ ...structuredClone(document) })).toEqual({ valid: true })
    const nested = operations().flatMap(({ operation }) =>
      Object.values(operation.responses).flatMap(({ headers = {} }) => Object.values(headers)),
    )
    // JSON Schema takes a schema within a schema for a keyword that it does not know.
    for (const { schema } of nested) expect(schema).toHaveProperty('type')
  })

  test('lists every route but itself, its pages, HEAD beside GET, and what only answers 405', async () => {
    const listed = new Set(
      operations().map(({ method, path }) => `${method} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
    )
    const routes = app.routes()
    expect([...listed].filter((route) => !routes.includes(route))).toEqual([])
    const others = routes.filter((route) => !listed.has(route) && !listed.has(route.replace(/^HEAD/, 'GET')))
    const pages = / \/(docs(\/|$)|openapi\.json$)|^(GET|HEAD) \/(page\/:file)?$/
    for (const route of others.filter((route) => !pages.test(route))) {
      const [method = '', path = ''] = route.split(' ')
      // Where pages of other origins are let in, OPTIONS belongs to them.
      if (method === 'OPTIONS') continue
      const { status } = await ask(path, { method })
      expect({ route, status }).toEqual({ route, status: 405 })
    }
  })

  test('wants a key for exactly the operations that refuse without one', async () => {
    for (const { method, path, operation } of operations()) {
      const { status } = await ask(path, { method })
      const { operationId, security = [] } = operation
      expect({ operationId, isClosed: status === 401 }).toEqual({
        operationId,
        isClosed: security.length > 0,
      })
    }
  })

  test('has one name for each operation, and this test calls each', () => {
    expect(Object.keys(calls).sort()).toEqual(
      operations()
        .map(({ operation }) => operation.operationId)
        .sort(),
    )
  })

  const cases = Object.entries(calls).flatMap(([name, list]) =>
    list.map(({ status = 200, call }) => ({ name, status, call })),
  )
  test.each(cases)('says how $name answers with $status', async ({ name, status, call }) => {
    const { method, path } = found(name)
    const answer = await call()
    expect(answer.status).toBe(status)
    expect(await check(method, path, answer)).toEqual([])
  })

  test('names no header of an upload that is not sent', async () => {
    const { operation } = found('createUpload')
    const answer = await askWithKey(FILES, {
      method: 'POST',
      body: form(),
      headers: { origin: 'https://app.example.com' },
    })
    const named = Object.keys(operation.responses[200]?.headers ?? {}).map((name) => name.toLowerCase())
    expect(named.filter((name) => !answer.headers.has(name))).toEqual([])
  })
})
