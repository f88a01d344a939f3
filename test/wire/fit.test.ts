import { request as ask } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { StoreError } from '../../src/store/store.ts'
import { authorization, startApp, type TestApp, type TestAppOptions } from '../support/app.ts'
import { copiesOf, FILES, filePart as file } from '../support/copies.ts'
import { fixture, pngHeader, sha256, tinyPng } from '../support/images.ts'
import { multipartBody } from '../support/multipart.ts'
import { type Origin, startOrigin } from '../support/remote.ts'
import { installedSharp, picturesOf } from '../support/sharp.ts'
import { eventually } from '../support/socket.ts'

/** Copies as an upload asks for them, and what becomes of both images. What is in the pictures is in fit-pictures.test.ts. */

const sharp = installedSharp()

let app: TestApp
let copyOf: Copies['copyOf']
let upload: Copies['upload']
let post: Copies['post']
let bytesAt: Copies['bytesAt']
let origin: Origin
beforeAll(async () => {
  origin = await startOrigin((_request, response) => response.end(photo))
})
afterAll(() => origin[Symbol.asyncDispose]())
afterEach(() => app[Symbol.asyncDispose]())

type Copies = ReturnType<typeof copiesOf>

const start = async (env: Record<string, string> = {}, options: TestAppOptions = {}) => {
  app = await startApp({ ...options, env: { URL_FETCH_ALLOW: `127.0.0.1:${origin.port}`, ...env } })
  ;({ copyOf, upload, post, bytesAt } = copiesOf(app))
}

const photo = fixture('photo.jpg')
const form = multipartBody([file(photo)])
const json = { 'content-type': 'application/json' }
const multipart = { 'content-type': form.contentType }

describe.skipIf(sharp === undefined)('a copy that fits', () => {
  const { decode, paint, noise } = picturesOf(sharp)

  test.each([
    ['in the query', () => post(`${FILES}?fit=300`, form.body, multipart)],
    ['in a header', () => post(FILES, form.body, { ...multipart, 'x-layover-fit': '300' })],
    ['in a field', () => upload(photo, '', [{ name: 'fit', content: '300' }])],
    [
      'beside base64',
      () => post(`${FILES}/base64`, JSON.stringify({ data: photo.toString('base64'), fit: 300 }), json),
    ],
    [
      'beside a URL',
      () =>
        post(`${FILES}/url`, JSON.stringify({ url: `http://127.0.0.1:${origin.port}/`, fit: '300' }), json),
    ],
  ])('is made as asked for %s, beside the image as it came', async (_where, call) => {
    await start()
    const { status, body } = await call()
    expect({ status, error: body.error }).toEqual({ status: 200, error: undefined })
    const { fitted } = body
    expect(fitted).toMatchObject({ mime_type: 'image/jpeg', width: 300, height: 142, animated: false })
    expect(fitted?.expires_at).toBe(body.expires_at)
    expect(fitted?.id).not.toBe(body.id)
    expect(body).toMatchObject({ width: 1024, height: 484, size: photo.length })
    expect(sha256(await bytesAt(body.url))).toBe(sha256(photo))
    const copy = await bytesAt(fitted?.url ?? '')
    expect(await decode(copy).metadata()).toMatchObject({ format: 'jpeg', width: 300, height: 142 })
    expect((await app.files()).length).toBe(2)
    // Both are the key's own.
    const own = await fetch(`${app.url}${FILES}/${fitted?.id}`, {
      method: 'DELETE',
      headers: { authorization },
    })
    expect(own.status).toBe(200)
    expect(sha256(await bytesAt(body.url))).toBe(sha256(photo))
  })

  test('has its URL in a header of the envelope, which stays as it is', async () => {
    await start()
    const answer = await post('/api/upload?fit=300', form.body, multipart)
    expect(Object.keys(answer.body)).toEqual(['success', 'message', 'data'])
    const url = answer.headers.get('x-layover-fitted-url') ?? ''
    expect((await decode(await bytesAt(url)).metadata()).width).toBe(300)
  })

  test('is the image itself where that is as wanted', async () => {
    await start()
    const { body } = await upload(photo, '?fit=anthropic')
    expect(body.fitted).toMatchObject({ id: body.id, url: body.url, size: photo.length, width: 1024 })
    expect((await app.files()).length).toBe(1)
  })

  test('counts for the quota like an upload of its own', async () => {
    await start({ QUOTA: '1MB' })
    const { original, fitted } = await copyOf(photo, '?fit=300')
    const usage = await fetch(`${app.url}/v1/files/usage`, { headers: { authorization } })
    const { quota } = (await usage.json()) as { quota: object }
    expect(quota).toMatchObject({ used: original.size + fitted.size, reserved: 0 })
  })

  test('that the quota has no room for leaves neither of the two', async () => {
    await start({ QUOTA: `${Math.floor(photo.length / 1024) + 1}KB` })
    const { status, body } = await upload(photo, '?fit=1000')
    expect([status, body.error?.code]).toEqual([413, 'file_over_quota'])
    expect(await app.files()).toEqual([])
    expect((await upload(photo, '')).status).toBe(200)
  })

  test.each([
    ['cut off', photo.subarray(0, 60_000)],
    ['a header alone', pngHeader(9000, 9000)],
    ['full of rubbish', Buffer.from(fixture('photo.png')).fill(0x55, 20_000, 60_000)],
  ])('of an image that is %s cannot be made, and nothing is left', async (_what, image) => {
    await start()
    const { status, body } = await upload(image, '?fit=300')
    expect([status, body.error?.code]).toEqual([422, 'fit_failed'])
    expect(body.error?.message).not.toMatch(/vips|Input buffer/i)
    expect(await app.files()).toEqual([])
    // As it is, it is taken as ever.
    expect((await upload(image, '')).status).toBe(200)
  })

  test('goes when its client does', async () => {
    await start()
    const image = await noise(2000).jpeg().toBuffer()
    const { body, contentType } = multipartBody([file(image)])
    const leaving = ask(`${app.url}${FILES}?fit=1000`, {
      method: 'POST',
      headers: { authorization, 'content-type': contentType, 'content-length': body.length },
    })
    leaving.on('error', () => {})
    leaving.end(body)
    // Its temp file is whole.
    await eventually(async () => (await app.files()).length > 0)
    leaving.destroy()
    await eventually(async () => (await app.files()).length === 0)
  })

  test('of a picture that no smaller copy makes fit is refused with the reason', async () => {
    await start()
    const { status, body } = await upload(await paint(2000, 200, '#333').png().toBuffer(), '?fit=runway')
    expect([status, body.error?.code]).toEqual([422, 'fit_impossible'])
    expect(body.error?.message).toMatch(/10 times its height/)
    expect(await app.files()).toEqual([])
  })

  test('that cannot be stored takes the image with it', async () => {
    let stored = 0
    const wrap: TestAppOptions['wrap'] = (store) => ({
      ...store,
      put: async (key, staged, options) => {
        stored += 1
        if (stored === 2) throw new StoreError('the disk is gone')
        await store.put(key, staged, options)
      },
    })
    await start({ QUOTA: '1MB' }, { wrap })
    const { status, body } = await upload(photo, '?fit=300')
    expect([status, body.error?.code, stored]).toEqual([503, 'store_unavailable', 2])
    expect(await app.files()).toEqual([])
    const usage = await fetch(`${app.url}/v1/files/usage`, { headers: { authorization } })
    expect(await usage.json()).toMatchObject({ quota: { used: 0, reserved: 0 } })
  })
})

describe('without what makes copies', () => {
  test.each(['fit=300', 'strip=metadata', 'fit=openai'])(
    '%s is refused before the body is read',
    async (query) => {
      await start({ FIT_WORKERS: '0' })
      const { status, body } = await upload(tinyPng, `?${query}`)
      expect([status, body.error?.code]).toEqual([501, 'fit_unavailable'])
      expect((await upload(tinyPng, '', [{ name: 'fit', content: '300' }])).status).toBe(501)
      expect(await app.files()).toEqual([])
      expect((await upload(tinyPng, '')).status).toBe(200)
    },
  )
})

test.each([
  'fit=0',
  'fit=15',
  'fit=16385',
  'fit=-5',
  'fit=1e3',
  'fit=0300',
  'fit=',
  'fit=toString',
  'fit=openai&fit=xai',
  'strip=',
  'strip=all',
])('nobody can ask for %s', async (query) => {
  await start()
  const { status, body } = await upload(tinyPng, `?${query}`)
  expect([status, body.error?.code]).toEqual([400, expect.stringMatching(/^(fit|strip)_invalid$/)])
})
