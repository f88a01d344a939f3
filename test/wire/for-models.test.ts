import { request as ask } from 'node:http'
import type { Readable } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { FORMATS } from '../../src/formats.ts'
import { APIS } from '../../src/vision/limits.ts'
import { apiKey, authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, pngOfSize, tinyPng } from '../support/images.ts'
import { eventually } from '../support/socket.ts'

const FILES = '/v1/files/uploads'

let app: TestApp
afterEach(() => app[Symbol.asyncDispose]())

const call = (path: string, init: RequestInit = {}) =>
  fetch(`${app.url}${path}`, { ...init, headers: { authorization, ...init.headers } })

interface Facts {
  readonly id: string
  readonly url: string
  readonly compatibility: Record<string, boolean>
}

async function upload(image: Buffer, query = ''): Promise<Facts> {
  const body = new FormData()
  body.append('file', new Blob([new Uint8Array(image)]), 'x')
  return (await (await call(`${FILES}${query}`, { method: 'POST', body })).json()) as Facts
}

test('an upload says which APIs take the image, and so does GET', async () => {
  app = await startApp()
  const { id, compatibility } = await upload(fixture('animated.gif'))
  expect(Object.keys(compatibility)).toEqual(APIS.map(({ id }) => id))
  expect(compatibility).toMatchObject({ anthropic: true, openai: false, kling: false })
  const facts = await (await call(`${FILES}/${id}`)).json()
  expect(facts).toMatchObject({ compatibility })
  const { dated, apis, animated } = (await (await call(`${FILES}/${id}/compatibility`)).json()) as {
    dated: string
    animated: boolean
    apis: { api: string; accepted: boolean; reasons: { code: string; message: string }[] }[]
  }
  expect([dated, animated]).toEqual([expect.stringMatching(/^20\d\d-\d\d$/), true])
  expect(Object.fromEntries(apis.map(({ api, accepted }) => [api, accepted]))).toEqual(compatibility)
  const openai = apis.find(({ api }) => api === 'openai')
  expect(openai?.reasons.map(({ code }) => code)).toEqual(['animation'])
})

test('the envelope has no member more', async () => {
  app = await startApp()
  const body = new FormData()
  body.append('file', new Blob([new Uint8Array(tinyPng)]), 'x')
  const answer = await call('/api/upload', { method: 'POST', body })
  expect(Object.keys((await answer.json()) as object)).toEqual(['success', 'message', 'data'])
})

test.each([
  ...photos.map(({ file, format }) => [file, fixture(file), format] as const),
  ['1 byte beyond a multiple of 3', pngOfSize(300_001), 'png'] as const,
  ['2 bytes beyond', pngOfSize(300_002), 'png'] as const,
  ['5 MB', pngOfSize(5 * 1024 ** 2), 'png'] as const,
])('the data URL of %s is the image, with its exact length', async (_name, image, format) => {
  app = await startApp()
  const { id } = await upload(image)
  const path = `${FILES}/${id}/data-url`
  const dataUrl = `data:${FORMATS[format].mediaType};base64,${image.toString('base64')}`
  const answer = await call(path)
  const text = await answer.text()
  expect(JSON.parse(text)).toEqual({
    id,
    mime_type: FORMATS[format].mediaType,
    size: image.length,
    data_url: dataUrl,
  })
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect(answer.headers.get('content-length')).toBe(String(Buffer.byteLength(text)))

  const bare = await call(path, { headers: { accept: 'text/plain' } })
  expect(bare.headers.get('content-type')).toMatch(/^text\/plain/)
  expect((await bare.text()) === dataUrl).toBe(true)

  for (const [accept, length] of [
    ['*/*', Buffer.byteLength(text)],
    ['text/plain', dataUrl.length],
  ] as const) {
    const head = await call(path, { method: 'HEAD', headers: { accept } })
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(length)])
    expect(await head.text()).toBe('')
  }
})

test('a data URL that nobody reads to its end leaves nothing open', async () => {
  const bodies: Readable[] = []
  app = await startApp({
    env: { CACHE_SIZE: '0' },
    wrap: (store) => ({
      ...store,
      async open(key, options) {
        const opened = await store.open(key, options)
        const { size, body } = opened
        bodies.push(body)
        return { size, body }
      },
    }),
  })
  const { id } = await upload(pngOfSize(8 * 1024 ** 2))
  for (let time = 0; time < 10; time += 1) {
    await new Promise((resolve) => {
      const leaving = ask(`${app.url}${FILES}/${id}/data-url`, { headers: { authorization } }, (answer) => {
        answer.once('data', () => leaving.destroy())
        answer.on('error', () => {})
      })
      leaving.on('error', () => {}).on('close', resolve)
      leaving.end()
    })
  }
  expect(bodies.length).toBe(10)
  await eventually(() => bodies.every(({ closed }) => closed))
})

test.each(['compatibility', 'data-url'])('%s is for the owner, while the image lives', async (what) => {
  let time = Date.parse('2026-01-02T03:04:05Z')
  app = await startApp({ env: { API_KEYS: `tester:${apiKey},bob:${'b'.repeat(24)}` }, now: () => time })
  const { id } = await upload(tinyPng, '?expires_in=60')
  const path = `${FILES}/${id}/${what}`
  const codeFor = async (init: RequestInit = {}) => {
    const answer = await call(path, init)
    const { error } = (await answer.json()) as { error?: { code: string } }
    return [answer.status, error?.code]
  }
  expect(await codeFor()).toEqual([200, undefined])
  expect(await codeFor({ headers: { authorization: '' } })).toEqual([401, 'key_missing'])
  expect(await codeFor({ headers: { authorization: `Bearer ${'b'.repeat(24)}` } })).toEqual([
    404,
    'image_not_found',
  ])
  expect(await codeFor({ method: 'POST' })).toEqual([405, 'method_not_allowed'])
  time += 60_000
  expect(await codeFor()).toEqual([410, 'image_expired'])
})

test('an image that was deleted has neither', async () => {
  app = await startApp()
  const { id } = await upload(tinyPng)
  await call(`${FILES}/${id}`, { method: 'DELETE' })
  expect((await call(`${FILES}/${id}/compatibility`)).status).toBe(404)
  expect((await call(`${FILES}/${id}/data-url`)).status).toBe(404)
  expect((await call(`${FILES}/${id}/data-url`, { method: 'HEAD' })).status).toBe(404)
})
