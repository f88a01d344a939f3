import { readdirSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'

const folder = join(import.meta.dirname, '../../src/page')
/** Without types here: the page's scripts are checked on their own. */
const { chineseOfPage } = await import(join(folder, 'texts.js'))
const html = readFileSync(join(folder, 'index.html'), 'utf8')

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** What is sent, which `fetch` would unpack. */
async function ask(path: string, headers: Record<string, string> = {}, method = 'GET') {
  const { promise, resolve, reject } = Promise.withResolvers<import('node:http').IncomingMessage>()
  request(app.url + path, { method, headers }, resolve)
    .on('error', reject)
    .end()
  const answer = await promise
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  return { status: answer.statusCode, headers: answer.headers, bytes: Buffer.concat(chunks) }
}

describe('the page at /', () => {
  test('comes with a policy under which nothing but files of this server runs, and without a cookie', async () => {
    const { status, headers } = await ask('/')
    expect(status).toBe(200)
    const policy = String(headers['content-security-policy'])
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'")
    expect(policy).not.toMatch(/unsafe|https?:|\*/)
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'x-robots-tag': 'noindex',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    })
    expect(headers['set-cookie']).toBeUndefined()
  })

  test('has no script or style in itself, and names each of its files once', async () => {
    expect(html).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\s(style|on\w+)=|javascript:|https?:/i)
    // Behind a proxy that takes a folder off, as PUBLIC_URL may name one, what begins with a slash would lead elsewhere.
    expect(html).not.toMatch(/(?:src|href)="\//)
    const named = [...html.matchAll(/(?:src|href)="page\/([^"]+)"/g)].map(([, name = '']) => name)
    const isOurs = (name: string) => /\.(js|css)$/.test(name) && !name.startsWith('clients.')
    const files = readdirSync(folder).filter(isOurs)
    expect(named.filter((name) => !name.endsWith('.svg')).sort()).toEqual(files.sort())
    for (const name of named) expect((await ask(`/page/${name}`)).status).toBe(200)
  })

  test('has a Chinese text for every English one, and none besides', () => {
    const keys = [...html.matchAll(/data-(?:text|label)="([^"]+)"/g)].map(([, key = '']) => key)
    expect(new Set(keys)).toEqual(new Set(Object.keys(chineseOfPage)))
  })

  test('answers HEAD as GET, without the body', async () => {
    const [get, head] = [await ask('/'), await ask('/', {}, 'HEAD')]
    expect(head.status).toBe(200)
    expect(head.bytes.length).toBe(0)
    for (const name of ['content-length', 'etag', 'content-type', 'content-security-policy'])
      expect(head.headers[name]).toBe(get.headers[name])
    expect(get.headers['content-length']).toBe(String(get.bytes.length))
  })

  test.each(['gzip', 'br, GZIP;q=0.5', 'gzip ; q=1, *;q=0'])(
    'is gzipped for those who take it: %s',
    async (accepted) => {
      const { headers } = await ask('/', { 'accept-encoding': accepted })
      expect(headers).toMatchObject({ 'content-encoding': 'gzip', vary: 'Accept-Encoding' })
    },
  )

  test.each(['', 'identity', 'gzip;q=0', 'gzip; q=0.0, br', 'br', 'xgzip'])(
    'is as it is for others: %s',
    async (accepted) => {
      const { headers, bytes } = await ask('/', { 'accept-encoding': accepted })
      expect(headers['content-encoding']).toBeUndefined()
      expect(bytes.toString()).toBe(html)
    },
  )

  test('has another entity tag when it is gzipped, and is not sent to those who have it', async () => {
    const gzip = { 'accept-encoding': 'gzip' }
    const plain = String((await ask('/')).headers.etag)
    const gzipped = String((await ask('/', gzip)).headers.etag)
    expect(plain).not.toBe(gzipped)
    const has = async (tags: string, headers = {}) =>
      (await ask('/', { 'if-none-match': tags, ...headers })).status
    for (const tags of [plain, `W/${plain}`, `"other", ${plain}`, '*']) expect(await has(tags)).toBe(304)
    for (const tags of ['"other"', gzipped]) expect(await has(tags)).toBe(200)
    expect(await has(gzipped, gzip)).toBe(304)
    expect(await has(plain, gzip)).toBe(200)
    const { headers, bytes } = await ask('/', { 'if-none-match': plain })
    expect({ etag: headers.etag, vary: headers.vary, length: bytes.length }).toEqual({
      etag: plain,
      vary: 'Accept-Encoding',
      length: 0,
    })
  })

  test.each(['/page/', '/page/tsconfig.json', '/page/..%2fapp.ts', '/page/constructor'])(
    'has no other files: %s',
    async (path) => expect((await ask(path)).status).toBe(404),
  )

  test('is not there with PAGE=off', async () => {
    await using off = await startApp({ env: { PAGE: 'off' } })
    for (const path of ['/', '/page/page.css']) expect((await fetch(off.url + path)).status).toBe(404)
  })
})
