import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'

const ORIGIN = 'https://app.example.com'
let app: TestApp

function preflight(path: string, origin = ORIGIN, method = 'POST') {
  const headers = {
    origin,
    'access-control-request-method': method,
    'access-control-request-headers': 'authorization, x-layover-expires-in',
  }
  return fetch(app.url + path, { method: 'OPTIONS', headers })
}

describe('with CORS_ORIGIN', () => {
  beforeAll(async () => {
    app = await startApp({ env: { CORS_ORIGIN: ORIGIN } })
  })
  afterAll(() => app[Symbol.asyncDispose]())

  test.each([
    ['/api/upload', 'POST'],
    ['/v1/files/uploads', 'POST'],
    ['/v1/files/uploads/file_x', 'DELETE'],
    ['/v1/files/uploads/presign', 'POST'],
    ['/incoming/x.png?ticket=x', 'PUT'],
  ])('a browser may ask whether its page may use %s (%s), once a day', async (path, method) => {
    const answer = await preflight(path, ORIGIN, method)
    expect(answer.status).toBe(204)
    expect(answer.headers.get('access-control-allow-origin')).toBe(ORIGIN)
    expect(answer.headers.get('access-control-allow-methods')).toContain(method)
    expect(answer.headers.get('access-control-allow-headers')).toMatch(/authorization/i)
    expect(answer.headers.get('access-control-max-age')).toBe('86400')
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
  })

  test('the page may read the answer and its headers, a refusal too', async () => {
    const body = new FormData()
    body.append('file', new Blob([new Uint8Array(tinyPng)]), 'x.png')
    const headers = { origin: ORIGIN, authorization }
    const stored = await fetch(`${app.url}/v1/files/uploads`, { method: 'POST', headers, body })
    const refused = await fetch(`${app.url}/api/upload`, { method: 'POST', headers: { origin: ORIGIN } })
    expect([stored.status, refused.status]).toEqual([200, 401])
    for (const answer of [stored, refused]) {
      expect(answer.headers.get('access-control-allow-origin')).toBe(ORIGIN)
      expect(answer.headers.get('access-control-expose-headers')).toContain('X-Layover-Delete-Url')
      expect(answer.headers.get('vary')).toMatch(/origin/i)
    }
  })

  test('another origin is not let in', async () => {
    const answer = await preflight('/api/upload', 'https://evil.example.com')
    expect(answer.headers.get('access-control-allow-origin')).not.toBe('https://evil.example.com')
  })

  test.each([
    ['GET', '/v1/nowhere'],
    ['POST', '/api/nowhere'],
  ])('it may read, too, that there is nothing (%s %s)', async (method, path) => {
    expect((await preflight(path, ORIGIN, method)).status).toBe(204)
    const answer = await fetch(app.url + path, { method, headers: { origin: ORIGIN } })
    expect(answer.status).toBe(404)
    expect(answer.headers.get('access-control-allow-origin')).toBe(ORIGIN)
  })

  test.each([
    ['/nowhere', 404],
    ['/healthz', 405],
    ['/v1x/files', 404],
    ['/uploads/2026/01/x.png', 405],
  ])('OPTIONS %s is answered as without it', async (path, status) => {
    const answer = await preflight(path)
    expect(answer.status).toBe(status)
    expect(answer.headers.get('access-control-allow-methods')).toBeNull()
    expect((await answer.json()) as object).toHaveProperty('error.code')
  })

  test('images stay open to any page', async () => {
    const answer = await fetch(`${app.url}/robots.txt`, { headers: { origin: ORIGIN } })
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })
})

describe('without it', () => {
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app[Symbol.asyncDispose]())

  test('no page of another origin may use the API', async () => {
    const answer = await preflight('/api/upload')
    expect(answer.status).toBe(405)
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })
})
