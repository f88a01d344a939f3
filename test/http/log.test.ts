import { afterAll, beforeAll, expect, test } from 'vitest'
import { shownPath } from '../../src/request-log.ts'
import { apiKey, authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture } from '../support/images.ts'
import { eventually, exchange, requestHead } from '../support/socket.ts'

const photo = fixture('photo.jpg')
let app: TestApp
let log = ''
beforeAll(async () => {
  app = await startApp({
    onLog: (line) => {
      log += line
    },
  })
})
afterAll(() => app[Symbol.asyncDispose]())

async function upload(path: string, headers: Record<string, string> = { authorization }) {
  const body = new FormData()
  body.append('file', new Blob([new Uint8Array(photo)]), 'my-holiday.jpg')
  return fetch(app.url + path, { method: 'POST', headers, body })
}

/** The line of a request, by the id that its answer had. */
async function lineOf({ headers }: Response): Promise<Record<string, unknown>> {
  const find = () =>
    log
      .split('\n')
      .find((line) => line.includes(headers.get('x-request-id') ?? '?') && line.includes('"msg":"request'))
  await eventually(() => find() !== undefined)
  const { time: _time, pid: _pid, hostname: _hostname, ms, ...line } = JSON.parse(find() ?? '')
  expect(ms).toBeGreaterThanOrEqual(0)
  return line
}

const common = (response: Response) => ({
  level: 30,
  reqId: response.headers.get('x-request-id'),
  msg: 'request',
})

test('a line has the request’s id, the key’s name, and the bytes of the image that came or went', async () => {
  const uploaded = await upload('/api/upload')
  const { data } = (await uploaded.json()) as { data: string }
  expect(await lineOf(uploaded)).toEqual({
    ...common(uploaded),
    method: 'POST',
    path: '/api/upload',
    status: 200,
    key: 'tester',
    bytes: photo.length,
  })

  const shown = new URL(data).pathname.replace(/[0-9a-z]{34}\.jpg$/, '….jpg')
  const image = async (init: RequestInit, status: number, bytes?: number) => {
    const response = await fetch(data, init)
    await response.arrayBuffer()
    expect(await lineOf(response)).toEqual({
      ...{ ...common(response), method: init.method ?? 'GET', path: shown, status },
      ...(bytes !== undefined && { bytes }),
    })
  }
  await image({}, 200, photo.length)
  await image({ headers: { range: 'bytes=0-9' } }, 206, 10)
  await image({ method: 'HEAD' }, 200, 0)
  await image({ headers: { 'if-none-match': '*' } }, 304)
})

test('a refusal has its code, and no key’s name if there was no good one', async () => {
  const refused = await upload('/v1/files/uploads', { authorization: 'Bearer sk-not-a-good-key' })
  expect(await lineOf(refused)).toEqual({
    ...common(refused),
    method: 'POST',
    path: '/v1/files/uploads',
    status: 401,
    code: 'key_wrong',
  })
})

/** A path with one character of its image's name encoded: the server reads it as the same, and so does whoever reads the log. */
const encoded = (path: string, percent: string) =>
  path.replace(
    /[0-9a-z](?=[0-9a-z]{20}\.)/,
    (character) => `${percent}${character.charCodeAt(0).toString(16)}`,
  )

test('nothing in the log lets anybody in: no key, link, token or query, at any level', async () => {
  const uploaded = await upload('/v1/files/uploads?expires_in=3600&tag=query-canary-1')
  const { id, url, delete_url } = (await uploaded.json()) as Record<string, string>
  const { pathname } = new URL(url ?? '')
  const link = new URL(delete_url ?? '')
  const token = link.searchParams.get('token') ?? '?'
  const owned = { headers: { authorization } }

  await fetch(`${app.url}/v1/files/uploads/${id}?q=query-canary-2`, owned)
  await fetch(`${app.url}${pathname}?X-Amz-Signature=query-canary-3`)
  for (const path of [
    `${pathname}x`,
    `/delete${pathname}/${token}`,
    `/x/${id}/y`,
    `/${pathname.toUpperCase()}`,
    encoded(pathname, '%'),
    encoded(pathname, '%2525'),
    encoded(`${link.pathname}${link.search}`.replace('/delete/', '/delete%2F').replace('?', '%3F'), '%'),
  ])
    await fetch(app.url + path)
  // Too broken to be a request, or for the router.
  const { port } = app
  for (const line of [
    `GET ${pathname}%zz?token=${token}`,
    `GE T ${pathname}`,
    `GET ${pathname}\0`,
    `GET ${link.href}`,
  ])
    await exchange(port, requestHead(line, { Authorization: authorization }))
  await fetch(`${app.url}${link.pathname}x${link.search}`)
  await fetch(`${app.url}${link.pathname}${link.search}`, { method: 'POST', headers: { referer: link.href } })
  const last = await fetch(`${app.url}${link.pathname}${link.search}`)
  await lineOf(last)

  const name = pathname.split('/').at(-1)?.split('.')[0] ?? '?'
  for (const secret of [
    apiKey,
    token,
    'query-canary',
    name,
    name.slice(19),
    // What is left of an encoded one.
    name.slice(-20),
    'sk-not-a-good-key',
    'my-holiday',
  ])
    expect(log.toLowerCase()).not.toContain(secret.toLowerCase())
})

test.each([
  ['/healthz?a=b', '/healthz'],
  [`/delete/${'x'.repeat(53)}.png/token`, '/delete/…'],
  ['/docs/static/swagger-ui-bundle.js', '/docs/static/swagger-ui-bundle.js'],
  [`/uploads/2026/11/1ngaew01ng2hr0j216b${'0'.repeat(34)}.jpg`, '/uploads/2026/11/1ngaew01ng2hr0j216b….jpg'],
  [
    `/uploads/2026/11/1ngaew01ng2hr0%6a216b${'0'.repeat(20)}%30${'0'.repeat(13)}%2ejpg`,
    '/uploads/2026/11/1ngaew01ng2hr0j216b….jpg',
  ],
  [
    `/uploads/1ngaew01ng2hr0%256A216b${'0'.repeat(34)}.jpg%3Fsignature=x`,
    '/uploads/1ngaew01ng2hr0j216b….jpg',
  ],
  ['/delete%2Fname.png%3Ftoken=x', '/delete/…'],
  // Without its owner mark, and without more than that.
  [`/uploads/1ngaew01ng2hr0j216b${'0'.repeat(22)}`, '/uploads/1ngaew01ng2hr0j216b…'],
  [`/uploads/1ngaew01ng2hr0j216b${'0'.repeat(21)}`, `/uploads/1ngaew01ng2hr0j216b${'0'.repeat(21)}`],
  ['/100%/%zz/%c3%28/%0a/%', '/100%/%zz/%c3(/%0a/%'],
])('%s is shown as %s', (url, path) => expect(shownPath(url)).toBe(path))
