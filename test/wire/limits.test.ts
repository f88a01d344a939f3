import { once } from 'node:events'
import { request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { multipartBody, uploadOf } from '../support/multipart.ts'
import {
  eventually,
  exchange,
  openSocket,
  parseResponse,
  requestHead,
  uploadHead,
} from '../support/socket.ts'

const LIMIT = 20 * 1024 ** 2
const POST = 'POST /api/upload'

let app: TestApp
afterEach(() => app[Symbol.asyncDispose]())

/** Sends an upload with Node's client, by announced length or in chunks. */
async function post(form: ReturnType<typeof uploadOf>, { chunked = false } = {}) {
  const length = chunked ? {} : { 'content-length': form.body.length }
  const outgoing = request(`${app.url}/api/upload`, {
    method: 'POST',
    headers: { authorization, 'content-type': form.contentType, ...length },
  })
  outgoing.end(form.body)
  const incoming = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve)
    outgoing.once('error', reject)
  })
  return {
    status: incoming.statusCode,
    headers: incoming.headers,
    json: JSON.parse(String(await buffer(incoming))),
  }
}

describe('the limit of 20 MB', () => {
  test.each([{ chunked: false }, { chunked: true }])(
    'a file of exactly that size passes (%o)',
    async (how) => {
      app = await startApp()
      const bytes = pngOfSize(LIMIT)
      const { status, json } = await post(uploadOf(bytes), how)
      expect(status).toBe(200)
      const path = new URL(json.data).pathname
      const back = await fetch(app.url + path)
      expect(sha256(new Uint8Array(await back.arrayBuffer()))).toBe(sha256(bytes))
    },
  )

  test.each([{ chunked: false }, { chunked: true }])(
    'one byte more is 413, and nothing is stored (%o)',
    async (how) => {
      app = await startApp()
      const { status, headers, json } = await post(uploadOf(pngOfSize(LIMIT + 1)), how)
      expect({ status, connection: headers.connection }).toEqual({ status: 413, connection: 'close' })
      expect(json).toEqual({ success: false, message: expect.stringContaining('20971520'), data: null })
      await eventually(async () => (await app.files()).length === 0)
    },
  )

  test('a client that reads nothing before it has sent all of 60 MB still gets the answer', async () => {
    app = await startApp()
    const form = uploadOf(pngOfSize(60 * 1024 ** 2))
    const refused = [
      { headers: { Authorization: authorization }, status: 413 },
      { headers: { Authorization: 'Bearer wrong' }, status: 401 },
    ]
    for (const { headers, status } of refused) {
      const socket = await openSocket(app.port)
      const type = { 'Content-Type': form.contentType, 'Content-Length': form.body.length }
      socket.write(requestHead(POST, { ...headers, ...type }))
      await new Promise<void>((resolve) => socket.write(form.body, () => resolve()))
      expect(parseResponse(await buffer(socket)).status).toBe(status)
    }
    expect(await app.files()).toEqual([])
  })

  test('a body announced as too large is refused before any of it is read', async () => {
    app = await startApp()
    const response = await exchange(
      app.port,
      requestHead(POST, {
        Authorization: authorization,
        'Content-Type': 'multipart/form-data',
        'Content-Length': 1e12,
      }),
    )
    expect(response.status).toBe(413)
  })

  test('a form that hides too much beside its file is refused', async () => {
    app = await startApp({ env: { MAX_FILE_SIZE: '1KB' } })
    const endless = Buffer.concat([
      Buffer.from('--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n'),
      Buffer.alloc(200 * 1024, 'x'),
    ])
    const response = await exchange(
      app.port,
      requestHead(POST, {
        Authorization: authorization,
        'Content-Type': 'multipart/form-data; boundary=b',
        'Transfer-Encoding': 'chunked',
      }),
      `${endless.length.toString(16)}\r\n`,
      endless,
      '\r\n',
    )
    expect(response.status).toBe(413)
    expect(JSON.parse(String(response.body)).message).toMatch(/body is too large/)
  })
})

describe('beside its file, a form has 64 KB, however small the file is:', () => {
  const file = { name: 'file', content: tinyPng, filename: 'a' }
  /** A form with so many bytes beside the file in all, most of them in one place. */
  const formWith = (place: string, beside: number) => {
    const build = (size: number) => {
      const more = Buffer.alloc(size, 'x')
      const field = { name: 'note', content: more }
      const { body, contentType } = multipartBody(
        place === 'a field before it' ? [field, file] : place === 'a field after it' ? [file, field] : [file],
      )
      if (place === 'a file without a name') {
        const delimiter = body.subarray(0, body.indexOf('\r\n') + 2)
        const head = Buffer.from('Content-Disposition: form-data; filename="x"\r\n\r\n')
        return { body: Buffer.concat([delimiter, head, more, Buffer.from('\r\n'), body]), contentType }
      }
      if (place === 'the preamble')
        return { body: Buffer.concat([more, Buffer.from('\r\n'), body]), contentType }
      return { body: place === 'the epilogue' ? Buffer.concat([body, more]) : body, contentType }
    }
    return build(beside - (build(0).body.length - tinyPng.length))
  }
  const places = [
    'the preamble',
    'a field before it',
    'a field after it',
    'a file without a name',
    'the epilogue',
  ]

  test.each(places.flatMap((place) => [true, false].map((chunked) => ({ place, chunked }))))(
    '$place, chunked: $chunked',
    async ({ place, chunked }) => {
      app = await startApp()
      expect((await post(formWith(place, 64 * 1024), { chunked })).status).toBe(200)
      for (const size of [64 * 1024 + 1, 1024 ** 2]) {
        const { status, json } = await post(formWith(place, size), { chunked })
        expect({ status, message: json.message }).toEqual({
          status: 413,
          message: expect.stringContaining('body is too large'),
        })
      }
      expect(await app.files()).toHaveLength(1)
    },
  )
})

test.each([
  { twice: 'name', head: 'Content-Disposition: form-data; name="a"; name="file"; filename="x"' },
  { twice: 'filename', head: 'Content-Disposition: form-data; name="file"; filename="x"; filename="y"' },
])('a part with two $twice parameters is refused, and the answer says so', async ({ twice, head }) => {
  app = await startApp()
  const body = Buffer.concat([Buffer.from(`--b\r\n${head}\r\n\r\n`), tinyPng, Buffer.from('\r\n--b--\r\n')])
  const { status, json } = await post({ body, contentType: 'multipart/form-data; boundary=b' })
  expect({ status, json }).toEqual({
    status: 400,
    json: {
      success: false,
      message: `A part of the form has more than one "${twice}". Send one.`,
      data: null,
    },
  })
  expect(await app.files()).toEqual([])
})

describe('Expect: 100-continue', () => {
  const head = (headers: Record<string, string | number>) =>
    requestHead(POST, { Expect: '100-continue', 'Content-Length': 500, ...headers })

  test.each([
    { title: 'without a key', headers: {}, status: 401 },
    {
      title: 'with another type of body',
      headers: { Authorization: authorization, 'Content-Type': 'application/json' },
      status: 415,
    },
    {
      title: 'with too long a life asked for',
      headers: { Authorization: authorization, 'X-Layover-Expires-In': 1e9 },
      status: 400,
    },
    {
      title: 'with too much announced',
      headers: { Authorization: authorization, 'Content-Length': 1e9 },
      status: 413,
    },
  ])('is answered by the refusal itself $title', async ({ headers, status }) => {
    app = await startApp()
    const socket = await openSocket(app.port)
    socket.write(head(headers))
    const bytes = await buffer(socket)
    expect(bytes.toString('latin1', 0, 12)).toBe(`HTTP/1.1 ${status}`)
  })

  test('is answered by the refusal itself at an address that does not exist', async () => {
    app = await startApp()
    const socket = await openSocket(app.port)
    socket.write(requestHead('POST /nowhere', { Expect: '100-continue', 'Content-Length': 500 }))
    expect((await buffer(socket)).toString('latin1', 0, 12)).toBe('HTTP/1.1 404')
  })

  test('that was not waited for is drained like any other body', async () => {
    app = await startApp()
    const body = Buffer.alloc(15 * 1024 ** 2)
    const socket = await openSocket(app.port)
    socket.write(head({ Authorization: 'Bearer wrong', 'Content-Length': body.length }))
    const failure = await new Promise((resolve) => socket.write(body, resolve))
    expect(failure).toBeFalsy()
    expect((await buffer(socket)).toString('latin1', 0, 12)).toBe('HTTP/1.1 401')
  })

  test('is granted to an upload that may come', async () => {
    app = await startApp()
    const form = uploadOf(tinyPng)
    const socket = await openSocket(app.port)
    socket.write(
      head({
        Authorization: authorization,
        'Content-Type': form.contentType,
        'Content-Length': form.body.length,
      }),
    )
    const first = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
    expect(String(first)).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    socket.write(form.body)
    expect((await buffer(socket)).toString('latin1', 0, 12)).toBe('HTTP/1.1 200')
  })
})

describe('a client that is too slow', () => {
  const form = uploadOf(pngOfSize(400_000))
  const head = uploadHead(form, authorization)

  test('one that stops in the middle is told after IDLE_TIMEOUT, and nothing is left', async () => {
    app = await startApp({ env: { IDLE_TIMEOUT: '1s' } })
    const response = await exchange(app.port, head, form.body.subarray(0, 350_000))
    expect(response.status).toBe(408)
    expect(JSON.parse(String(response.body))).toMatchObject({
      success: false,
      message: expect.stringMatching(/stopped/),
    })
    await eventually(async () => (await app.files()).length === 0)
  })

  test('one that stops before its file is told, too', async () => {
    app = await startApp({ env: { IDLE_TIMEOUT: '1s' } })
    const response = await exchange(app.port, head, form.body.subarray(0, 20))
    expect(response.status).toBe(408)
  })

  // Of which 2.4 times as many milliseconds is no whole number in floating point.
  test.each(['3s', '23s', '46s'])('IDLE_TIMEOUT=%s does not keep the server from starting', async (idle) => {
    app = await startApp({ env: { IDLE_TIMEOUT: idle } })
    expect((await exchange(app.port, head, form.body)).status).toBe(200)
  })

  test('one that was told so cannot have its image stored by sending the rest afterwards', async () => {
    app = await startApp({ env: { UPLOAD_TIMEOUT: '1s' } })
    const socket = await openSocket(app.port)
    socket.write(head)
    socket.write(form.body.subarray(0, -5))
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    await eventually(() => answer.length > 0)
    socket.write(form.body.subarray(-5))
    await once(socket, 'close')
    expect(answer).toMatch(/^HTTP\/1\.1 408 .*"success":false.*"data":null}$/s)
    await eventually(async () => (await app.files()).length === 0)
  })

  test('one that drips is told when UPLOAD_TIMEOUT is over', async () => {
    app = await startApp({ env: { UPLOAD_TIMEOUT: '1s' } })
    const socket = await openSocket(app.port)
    socket.write(head)
    const drip = setInterval(() => socket.write(form.body.subarray(0, 1)), 50)
    const answer = await buffer(socket)
    clearInterval(drip)
    expect(answer.toString('latin1', 0, 12)).toBe('HTTP/1.1 408')
    await eventually(async () => (await app.files()).length === 0)
  })
})

describe('a connection that is used again', () => {
  test('takes one upload after the other, also with an epilogue that comes late', async () => {
    app = await startApp()
    const form = uploadOf(tinyPng)
    const epilogue = 'this text after the last boundary means nothing'
    const head = uploadHead(form, authorization, {
      'Content-Length': form.body.length + epilogue.length,
      Connection: 'keep-alive',
    })
    const socket = await openSocket(app.port)
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk
    })
    for (const count of [1, 2, 3]) {
      socket.write(head)
      socket.write(form.body)
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(received.split('"success":true').length - 1).toBe(count - 1)
      socket.write(epilogue)
      await eventually(() => received.split('"success":true').length - 1 === count)
    }
    socket.destroy()
  })

  test('a body that arrives byte by byte is taken', async () => {
    app = await startApp()
    const form = uploadOf(tinyPng)
    const socket = await openSocket(app.port)
    socket.setNoDelay(true)
    const head = uploadHead(form, authorization)
    for (const byte of Buffer.concat([Buffer.from(head), form.body])) {
      await new Promise<void>((resolve) => socket.write(Buffer.of(byte), () => resolve()))
    }
    expect((await buffer(socket)).toString('latin1', 0, 12)).toBe('HTTP/1.1 200')
  })
})
