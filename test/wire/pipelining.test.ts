import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { multipartBody, uploadOf } from '../support/multipart.ts'
import { answersTo, exchange, requestHead, uploadHead } from '../support/socket.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { MAX_FILE_SIZE: '100KB' } })
})
afterAll(() => app[Symbol.asyncDispose]())

type Headers = Record<string, string | number>

const get = (path: string, headers: Headers = {}) =>
  Buffer.from(requestHead(`GET ${path}`, { Connection: 'keep-alive', ...headers }))

const upload = (form = uploadOf(tinyPng), headers: Headers = {}) =>
  Buffer.concat([
    Buffer.from(uploadHead(form, authorization, { Connection: 'keep-alive', ...headers })),
    form.body,
  ])

/** What is answered to requests that come in one segment. */
const answersToAll = (...requests: Buffer[]) => answersTo(app.port, Buffer.concat(requests))

const statuses = (answers: readonly { status: number }[]) => answers.map(({ status }) => status)

async function deleteAll() {
  for (const name of await app.files()) await app.store.delete(name)
}

describe('requests that come in one segment', () => {
  test('are answered each by itself, in their order', async () => {
    const answers = await answersToAll(
      get('/healthz'),
      get('/nowhere'),
      get('/robots.txt', { Connection: 'close' }),
    )
    expect(statuses(answers)).toEqual([200, 404, 200])
    expect(String(answers[2]?.body)).toContain('User-agent')
  })

  test('are answered however many they are', async () => {
    const many = Array.from({ length: 1000 }, (_, index) => get(`/nowhere/${index}`))
    const answers = await answersToAll(...many, get('/healthz', { Connection: 'close' }))
    expect(statuses(answers)).toEqual([...many.map(() => 404), 200])
  })

  test('may be uploads, and what they are followed by', async () => {
    const end = get('/healthz', { Connection: 'close' })
    const answers = await answersToAll(upload(), upload(), get('/nowhere'), upload(), end)
    expect(statuses(answers)).toEqual([200, 200, 404, 200, 200])
    const names = [0, 1, 3].map((index) => JSON.parse(String(answers[index]?.body)).data.split('/').at(-1))
    expect((await app.files()).sort()).toEqual(names.sort())
    await deleteAll()
  })

  test('are not taken up after one that says it is the last', async () => {
    for (const last of [upload(undefined, { Connection: 'close' }), get('/healthz', { Connection: 'close' })])
      expect(statuses(await answersToAll(last, upload()))).toEqual([200])
    expect(await app.files()).toHaveLength(1)
    await deleteAll()
  })

  test('are one in HTTP/1.0, unless it asks for more', async () => {
    const once = requestHead('GET /healthz', { Connection: '' }).replace('1.1', '1.0')
    const again = requestHead('GET /healthz', { Connection: 'keep-alive' }).replace('1.1', '1.0')
    expect(statuses(await answersTo(app.port, once + once))).toEqual([200])
    expect(statuses(await answersTo(app.port, again + once))).toEqual([200, 200])
  })
})

describe('what follows a body that was refused is never taken for a request', () => {
  const wrong = { Authorization: 'Bearer wrong' }
  const request = upload()
  const chunkedHead = (headers: Headers) =>
    Buffer.from(
      requestHead('POST /api/upload', { Authorization: authorization, Connection: 'keep-alive', ...headers }),
    )
  const inChunks = Buffer.from(
    `${request.length.toString(16)}\r\n${request.toString('latin1')}\r\n0\r\n\r\n`,
    'latin1',
  )
  const post = (path: string, headers: Headers = {}) =>
    Buffer.concat([
      Buffer.from(
        requestHead(`POST ${path}`, {
          Connection: 'keep-alive',
          'Content-Length': request.length,
          ...headers,
        }),
      ),
      request,
    ])

  test.each<[string, number, Buffer]>([
    ['a wrong key', 401, upload(undefined, wrong)],
    ['a body that is itself a request', 401, post('/api/upload')],
    ['no such address', 404, post('/nowhere')],
    ['a method that the address does not take', 405, post('/uploads/2026/01/x.png')],
    ['a path that cannot be decoded', 400, post('/%zz')],
    ['a host that is none', 400, post('/api/upload', { Host: 'a/b' })],
    [
      'an encoding that is not taken',
      400,
      Buffer.concat([chunkedHead({ 'Transfer-Encoding': 'gzip, chunked' }), inChunks]),
    ],
    [
      'another type of body, in chunks',
      415,
      Buffer.concat([chunkedHead({ 'Transfer-Encoding': 'chunked' }), inChunks]),
    ],
    ['a type that is not a form', 415, post('/api/upload', { Authorization: authorization })],
    ['a form without a file', 400, upload(multipartBody([{ name: 'a', content: 'b' }]))],
    ['what is no image', 415, upload(uploadOf(Buffer.from('text, and not an image at all')))],
    ['a file that is too large', 413, upload(uploadOf(Buffer.concat([tinyPng, Buffer.alloc(100 * 1024)])))],
  ])('%s', async (_title, status, refused) => {
    expect(statuses(await answersToAll(get('/healthz'), refused, upload(), get('/healthz')))).toEqual([
      200,
      status,
    ])
    expect((await exchange(app.port, requestHead('GET /healthz'))).status).toBe(200)
    expect(await app.files()).toEqual([])
  })

  test('but a refusal of a request without a body leaves the connection as it is', async () => {
    const answers = await answersToAll(
      get('/v1/files/uploads', wrong),
      upload(undefined, { Connection: 'close' }),
    )
    expect(statuses(answers)).toEqual([401, 200])
    await deleteAll()
  })
})
