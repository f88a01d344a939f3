import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { type Fault, type FaultyS3, type Operation, startFaultyS3 } from '../support/faulty-s3.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { variablesOf } from '../support/place.ts'
import { eventually, exchange, openSocket, requestHead, uploadHead } from '../support/socket.ts'

let s3: FaultyS3
let app: TestApp
/** The configuration that leads to the server that fails on demand. */
const onFaulty = () => ({
  STORE: 's3',
  S3_BUCKET: 'bucket',
  ...variablesOf({ endpoint: s3.endpoint, accessKeyId: 'key', secretAccessKey: 'very-secret' }),
})

beforeEach(async () => {
  s3 = await startFaultyS3()
  app = await startApp({
    env: { ...onFaulty(), S3_TIMEOUT: '2s' },
  })
})
afterEach(async () => {
  await app[Symbol.asyncDispose]()
  await s3[Symbol.asyncDispose]()
})

const sizes = { small: tinyPng, large: pngOfSize(3_000_000) }

async function upload(image: Buffer) {
  const { body, contentType } = uploadOf(image)
  return fetch(`${app.url}/api/upload`, {
    method: 'POST',
    headers: { authorization, 'content-type': contentType },
    body: new Uint8Array(body),
  })
}

async function pathOfUpload(): Promise<string> {
  const { data } = (await (await upload(tinyPng)).json()) as { data: string }
  return new URL(data).pathname
}

describe.each(Object.entries(sizes))('a %s upload', (_size, image) => {
  test.each([
    { status: 500, code: 'InternalError' },
    { status: 503, code: 'SlowDown' },
    { status: 403, code: 'AccessDenied' },
    'reset',
    'hang',
    'lose the answer',
    'wrong bytes',
    'strange ETag',
    'no S3',
  ] as Fault[])(
    'to a store with the fault %j is a 503 that says when to try again, and leaves nothing',
    async (fault) => {
      s3.fail('PutObject', fault)
      const answer = await upload(image)
      expect({ status: answer.status, after: answer.headers.get('retry-after') }).toEqual({
        status: 503,
        after: '5',
      })
      expect(await answer.json()).toEqual({
        success: false,
        message: 'The image store does not answer. Try again shortly.',
        data: null,
      })
      expect([...s3.objects.keys(), ...(await app.files())]).toEqual([])
      s3.heal()
      expect((await upload(image)).status).toBe(200)
      expect([...s3.objects.keys(), ...(await app.files())]).toHaveLength(1)
    },
  )

  test('to a full store is a 507', async () => {
    s3.fail('PutObject', { status: 507, code: 'XMinioStorageFull' })
    expect((await upload(image)).status).toBe(507)
  })

  test('whose client leaves before the store has answered leaves nothing', async () => {
    s3.fail('PutObject', 'be late')
    s3.asked.length = 0
    const form = uploadOf(image)
    const socket = await openSocket(app.port)
    socket.write(uploadHead(form, authorization))
    socket.write(form.body)
    await eventually(() => s3.asked.includes('PutObject'))
    await new Promise((resolve) => setTimeout(resolve, 200))
    socket.destroy()
    // It is stored all the same, and then taken back.
    await eventually(() => s3.asked.at(-1) === 'DeleteObject')
    await eventually(async () => (await app.files()).length === 0)
    expect([...s3.objects.keys()]).toEqual([])
  })
})

test('a store that is silent for longer than a client may be is a 503 all the same', async () => {
  await using hasty = await startApp({
    env: { ...onFaulty(), S3_TIMEOUT: '3s', IDLE_TIMEOUT: '1s' },
  })
  const path = await pathOfUpload()
  s3.fail('PutObject', 'hang')
  s3.fail('GetObject', 'hang')
  const form = uploadOf(tinyPng)
  const refused = await exchange(hasty.port, uploadHead(form, authorization), form.body)
  expect(refused.status).toBe(503)
  expect((await exchange(hasty.port, requestHead(`GET ${path}`))).status).toBe(503)
})

describe('a GET', () => {
  test.each([
    ['GetObject', { status: 503, code: 'SlowDown' }, 503],
    ['GetObject', { status: 404, code: 'NoSuchBucket' }, 503],
    ['GetObject', { status: 403, code: 'AccessDenied' }, 503],
    ['GetObject', 'hang', 503],
    ['GetObject', { status: 404, code: 'NoSuchKey' }, 404],
  ] as [Operation, Fault, number][])(
    'where %s has the fault %j is a %i',
    async (operation, fault, status) => {
      const path = await pathOfUpload()
      s3.fail(operation, fault)
      const answer = await fetch(app.url + path)
      expect(answer.status).toBe(status)
      expect(answer.headers.get('content-type')).toMatch(/json/)
      expect(answer.headers.get('cache-control')).toBe('no-store')
      s3.heal()
      expect((await fetch(app.url + path)).status).toBe(200)
    },
  )

  test('asks the store once, and a HEAD too', async () => {
    const path = await pathOfUpload()
    s3.asked.length = 0
    await (await fetch(app.url + path)).arrayBuffer()
    await fetch(app.url + path, { method: 'HEAD' })
    expect(s3.asked).toEqual(['GetObject', 'HeadObject'])
  })
})

test('every upload comes with its MD5, and in one request', async () => {
  s3.asked.length = 0
  for (const image of Object.values(sizes)) await upload(image)
  expect(s3.asked).toEqual(['PutObject', 'PutObject'])
  expect([...s3.objects.values()].map(({ headers }) => headers['content-md5'])).toEqual(
    Object.values(sizes).map((image) => createHash('md5').update(image).digest('base64')),
  )
})
