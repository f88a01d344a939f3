import { once } from 'node:events'
import { connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, pngHeader, tinyPng } from '../support/images.ts'
import { multipartBody, uploadOf } from '../support/multipart.ts'
import {
  eventually,
  exchange,
  openSocket,
  parseResponse,
  requestHead,
  uploadHead,
} from '../support/socket.ts'

const POST = 'POST /api/upload'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { MAX_FILE_SIZE: '1MB' } })
})
afterAll(() => app[Symbol.asyncDispose]())

/** Sends a body to the upload route, whole and with its true length unless the headers say otherwise. */
function post(body: Buffer | string, headers: Record<string, string | number>) {
  return exchange(
    app.port,
    requestHead(POST, {
      Authorization: authorization,
      'Content-Length': Buffer.byteLength(body),
      ...headers,
    }),
    body,
  )
}

function postForm({ body, contentType }: { body: Buffer; contentType: string }, headers = {}) {
  return post(body, { 'Content-Type': contentType, ...headers })
}

async function expectNothingLeft() {
  expect(await app.files()).toEqual([])
}

const photo = fixture('photo.webp')
const whole = uploadOf(photo)

interface Refusal {
  readonly title: string
  readonly send: () => ReturnType<typeof post>
  readonly status: number
  readonly says: RegExp
}

const refusals: Refusal[] = [
  {
    title: 'no key',
    send: () => exchange(app.port, requestHead(POST, { 'Content-Length': 0 })),
    status: 401,
    says: /Authorization: Bearer/,
  },
  {
    title: 'a wrong key',
    send: () => postForm(whole, { Authorization: 'Bearer sk-layover-wrong' }),
    status: 401,
    says: /not known/,
  },
  {
    title: 'another scheme than Bearer',
    send: () => postForm(whole, { Authorization: authorization.replace('Bearer', 'Basic') }),
    status: 401,
    says: /Authorization: Bearer/,
  },
  {
    title: 'application/json with {}, as the API’s own page shows',
    send: () => post('{}', { 'Content-Type': 'application/json' }),
    status: 415,
    says: /multipart\/form-data.*"file"/,
  },
  {
    title: 'no body at all',
    send: () => post('', {}),
    status: 415,
    says: /multipart\/form-data/,
  },
  {
    title: 'a url-encoded form',
    send: () => post('file=photo', { 'Content-Type': 'application/x-www-form-urlencoded' }),
    status: 415,
    says: /multipart\/form-data/,
  },
  {
    title: 'a form with no parts',
    send: () => postForm(multipartBody([])),
    status: 400,
    says: /No part named/,
  },
  {
    title: 'an empty body that claims to be a form',
    send: () => post('', { 'Content-Type': whole.contentType }),
    status: 400,
    says: /No part named/,
  },
  {
    title: 'text in place of the file, as curl sends without the @',
    send: () => postForm(multipartBody([{ name: 'file', content: 'photo.png' }])),
    status: 400,
    says: /is text, as it has no file name.*with the @/,
  },
  {
    title: 'the file in a part of another name',
    send: () => postForm(multipartBody([{ name: 'image', content: photo, filename: 'a.webp' }])),
    status: 400,
    says: /No part named "file" came \(found: image\)/,
  },
  {
    title: 'two files',
    send: () =>
      postForm(
        multipartBody([
          { name: 'file', content: photo, filename: 'a.webp' },
          { name: 'file', content: photo, filename: 'b.webp' },
        ]),
      ),
    status: 400,
    says: /one image a request/,
  },
  {
    title: 'three files',
    send: () =>
      postForm(
        multipartBody(['a', 'b', 'c'].map((name) => ({ name: 'file', content: photo, filename: name }))),
      ),
    status: 400,
    says: /one image a request/,
  },
  {
    title: 'an empty file',
    send: () => postForm(uploadOf(Buffer.alloc(0))),
    status: 400,
    says: /empty/,
  },
  {
    title: 'text renamed to .png',
    send: () => postForm(uploadOf(Buffer.from('just some text, whatever its name says'), 'photo.png')),
    status: 415,
    says: /not a JPEG, PNG, GIF or WebP/,
  },
  {
    title: 'a short HTML page behind a GIF signature',
    send: () => postForm(uploadOf(Buffer.from('GIF89a<b>hi'))),
    status: 415,
    says: /not a JPEG/,
  },
  {
    title: 'a longer HTML page behind a GIF signature',
    send: () => postForm(uploadOf(Buffer.from('GIF89a<script>alert(document.domain)</script>'))),
    status: 422,
    says: /begins as GIF but is damaged/,
  },
  {
    title: 'an HTML page behind a JPEG signature',
    send: () => postForm(uploadOf(Buffer.from('\xff\xd8\xff<html><body>hello</body></html>', 'latin1'))),
    status: 422,
    says: /begins as JPEG but is damaged/,
  },
  {
    title: 'a PNG of no width',
    send: () => postForm(uploadOf(pngHeader(0, 10))),
    status: 422,
    says: /0 × 10 pixels/,
  },
  {
    title: 'a PNG of more pixels than are allowed',
    send: () => postForm(uploadOf(pngHeader(20_000, 5001))),
    status: 422,
    says: /20000 × 5001 pixels.*100000000/,
  },
  {
    title: 'a body cut off before its last boundary, of the announced length',
    send: () => postForm({ ...whole, body: whole.body.subarray(0, -12) }),
    status: 400,
    says: /incomplete/,
  },
  {
    title: 'a body cut off inside the file, of the announced length',
    send: () => postForm({ ...whole, body: whole.body.subarray(0, 9000) }),
    status: 400,
    says: /incomplete/,
  },
  {
    title: 'another boundary than the announced one',
    send: () => postForm({ ...whole, contentType: 'multipart/form-data; boundary=other' }),
    status: 400,
    says: /boundary/,
  },
  {
    title: 'no boundary',
    send: () => postForm({ ...whole, contentType: 'multipart/form-data' }),
    status: 400,
    says: /boundary/,
  },
  {
    title: 'a boundary of 252 characters',
    send: () => postForm({ ...whole, contentType: `multipart/form-data; boundary=${'b'.repeat(252)}` }),
    status: 400,
    says: /boundary/,
  },
  {
    title: 'a part header named __proto__',
    send: () =>
      postForm({
        ...whole,
        body: Buffer.from(whole.body.toString('latin1').replace('Content-Type', '__proto__'), 'latin1'),
      }),
    // The header says nothing that matters, so the image is taken; what counts is that nothing breaks.
    status: 200,
    says: /^$/,
  },
  {
    title: 'a field named __proto__',
    send: () => postForm(multipartBody([{ name: '__proto__', content: 'x' }])),
    status: 400,
    says: /reserved name/,
  },
  {
    title: 'a body that its sender means to be unzipped first',
    send: () =>
      exchange(
        app.port,
        requestHead(POST, {
          Authorization: authorization,
          'Content-Type': whole.contentType,
          'Transfer-Encoding': 'gzip, chunked',
        }),
        `${whole.body.length.toString(16)}\r\n`,
        whole.body,
        '\r\n0\r\n\r\n',
      ),
    status: 400,
    says: /Transfer-Encoding/,
  },
  {
    title: 'a Content-Type that is none',
    send: () => postForm({ ...whole, contentType: 'foo' }),
    status: 415,
    says: /multipart\/form-data/,
  },
  {
    title: 'more fields than anyone needs',
    send: () =>
      postForm(multipartBody(Array.from({ length: 30 }, (_, i) => ({ name: `f${i}`, content: 'x' })))),
    status: 400,
    says: /too many fields/,
  },
  {
    title: 'an expires_in that is no number',
    send: () =>
      postForm(
        multipartBody([
          { name: 'expires_in', content: 'soon' },
          { name: 'file', content: photo, filename: 'a' },
        ]),
      ),
    status: 400,
    says: /expires_in.*at most 259200/,
  },
  {
    title: 'an expires_in beyond the longest allowed, in a field after the file',
    send: () =>
      postForm(
        multipartBody([
          { name: 'file', content: photo, filename: 'a' },
          { name: 'expires_in', content: '259201' },
        ]),
      ),
    status: 400,
    says: /expires_in.*at most 259200/,
  },
  {
    title: 'one byte more than the limit',
    send: () => postForm(uploadOf(Buffer.concat([tinyPng, Buffer.alloc(1024 ** 2 + 1 - tinyPng.length)]))),
    status: 413,
    says: /at most 1048576 bytes/,
  },
]

describe('a refused upload is told why, and leaves nothing', () => {
  test.each(refusals)('$title', async ({ send, status, says }) => {
    const response = await send()
    const body = JSON.parse(response.body.toString())

    expect({ status: response.status, type: response.headers['content-type'] }).toEqual({
      status,
      type: 'application/json; charset=utf-8',
    })
    if (status === 200) {
      await app.store.delete(body.data.split('/').at(-1))
    } else {
      expect(body).toEqual({ success: false, message: expect.stringMatching(says), data: null })
    }
    await expectNothingLeft()
    const next = await postForm(whole)
    expect(next.status).toBe(200)
    await app.store.delete(JSON.parse(next.body.toString()).data.split('/').at(-1))
  })

  test('a key that is missing or wrong is asked for as RFC 6750 says', async () => {
    const missing = await exchange(app.port, requestHead(POST, { 'Content-Length': 0 }))
    const wrong = await postForm(whole, { Authorization: 'Bearer nope' })
    expect(missing.headers['www-authenticate']).toBe('Bearer realm="layover"')
    expect(wrong.headers['www-authenticate']).toBe('Bearer realm="layover", error="invalid_token"')
  })
})

describe('a connection that breaks', () => {
  test('a client that vanishes half-way leaves nothing', async () => {
    const big = uploadOf(Buffer.concat([fixture('photo.jpg'), Buffer.alloc(700_000)]))
    for (const sent of [10, 200, 5000, 300_000, 900_000]) {
      const socket = await openSocket(app.port)
      socket.write(uploadHead(big, authorization))
      await new Promise<void>((resolve) => socket.write(big.body.subarray(0, sent), () => resolve()))
      if (sent > 250_000) await eventually(async () => (await app.files()).length > 0)
      sent % 2 === 0 ? socket.resetAndDestroy() : socket.destroy()
      await eventually(async () => (await app.files()).length === 0)
    }
    expect((await postForm(whole)).status).toBe(200)
    for await (const { key } of app.store.list()) await app.store.delete(key)
  })

  test('a client that sends nonsense is told so, and not waited for', async () => {
    const socket = connect({ host: '127.0.0.1', port: app.port, allowHalfOpen: true })
    socket.write('this is not HTTP\r\n\r\n')
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    await once(socket, 'end')
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request.*"success":false.*"code":"request_malformed"/s)
    await eventually(
      async () => (await new Promise((done) => app.server.getConnections((_, n) => done(n)))) === 0,
    )
    socket.destroy()
  })

  test('nonsense after a whole upload does not take its answer away', async () => {
    for (const size of [1000, 200_000, 900_000]) {
      const form = uploadOf(Buffer.concat([tinyPng, Buffer.alloc(size)]))
      const headers = {
        'Content-Type': form.contentType,
        'Content-Length': form.body.length,
        Connection: 'keep-alive',
      }
      const head = requestHead(POST, { Authorization: authorization, ...headers })
      const response = await exchange(
        app.port,
        Buffer.concat([Buffer.from(head), form.body, Buffer.from('\0garbage\r\n\r\n')]),
      )
      expect(response.status).toBe(200)
      const name = JSON.parse(response.body.toString('utf8', 0, response.body.indexOf('}') + 1))
        .data.split('/')
        .at(-1)
      expect(await app.files()).toEqual([name])
      await app.store.delete(name)
    }
  })

  test('an expectation that nobody knows is no obstacle', async () => {
    expect((await exchange(app.port, requestHead('GET /robots.txt', { Expect: 'a miracle' }))).status).toBe(
      200,
    )
  })

  test('headers beyond all measure are 431', async () => {
    const response = await exchange(app.port, requestHead('GET /', { 'X-Long': 'x'.repeat(20_000) }))
    expect(response.status).toBe(431)
  })

  test('a client that closes its side before the announced end is told so', async () => {
    const socket = await openSocket(app.port)
    socket.end(
      Buffer.concat([
        Buffer.from(uploadHead(whole, authorization, { 'Content-Length': whole.body.length + 1 })),
        whole.body,
      ]),
    )
    const response = parseResponse(await buffer(socket))
    expect(response.status).toBe(400)
    expect(JSON.parse(response.body.toString())).toMatchObject({
      success: false,
      message: expect.stringMatching(/closed before the whole body/),
      data: null,
    })
    await eventually(async () => (await app.files()).length === 0)
  })
})
