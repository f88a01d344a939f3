import { afterAll, beforeAll, expect, test } from 'vitest'
import { FORMATS } from '../../src/formats.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { uploadOf } from '../support/multipart.ts'
import { polyglots } from '../support/polyglots.ts'
import { exchange, requestHead, uploadHead } from '../support/socket.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** All that is said of an image besides what belongs to the moment: nothing else may be there. */
const INERT = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
  'cross-origin-resource-policy': 'cross-origin',
  'access-control-allow-origin': '*',
  'x-robots-tag': 'noindex',
  'last-modified': expect.any(String),
  'cache-control': expect.stringMatching(/^public, max-age=\d+, immutable$/),
  etag: expect.any(String),
  date: expect.any(String),
  'x-request-id': expect.any(String),
  connection: 'close',
}

test.each(polyglots)(
  '$title is stored as the image that it is, and served so that no browser runs it',
  async ({ format, bytes }) => {
    // What its sender would like it to be.
    const form = uploadOf(bytes, 'page.html"; type="text/html')
    const stored = await exchange(app.port, uploadHead(form, authorization), form.body)
    expect(stored.status).toBe(200)
    const { pathname } = new URL(JSON.parse(String(stored.body)).data)
    expect(pathname).toMatch(new RegExp(`\\.${FORMATS[format].extension}$`))

    const type = { 'content-type': FORMATS[format].mediaType, 'accept-ranges': 'bytes' }
    const ask = (method: string, headers: Record<string, string> = {}) =>
      exchange(app.port, requestHead(`${method} ${pathname}`, { Accept: 'text/html', ...headers }))
    const whole = await ask('GET')
    expect(whole.body.equals(bytes)).toBe(true)
    expect(whole.headers).toEqual({ ...INERT, ...type, 'content-length': String(bytes.length) })
    expect((await ask('HEAD')).headers).toEqual({ ...INERT, ...type, 'content-length': String(bytes.length) })

    const part = await ask('GET', { Range: `bytes=${bytes.length - 20}-` })
    expect(part.headers).toEqual({
      ...INERT,
      ...type,
      'content-length': '20',
      'content-range': `bytes ${bytes.length - 20}-${bytes.length - 1}/${bytes.length}`,
    })
    expect((await ask('GET', { 'If-None-Match': '*' })).headers).toEqual(INERT)
  },
)
