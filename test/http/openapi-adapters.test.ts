import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ApiDocument, checker } from '../support/api-document.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'

let app: TestApp
let document: ApiDocument
let check: ReturnType<typeof checker>
beforeAll(async () => {
  app = await startApp({
    env: {
      ADAPTERS: 'all',
      RATE_LIMIT: '10000/1m',
      CORS_ORIGIN: 'https://app.example.com',
      MAX_FILE_SIZE: '100KB',
    },
  })
  document = (await (await fetch(`${app.url}/openapi.json`)).json()) as ApiDocument
  check = checker(document)
})
afterAll(() => app[Symbol.asyncDispose]())

const good = new Uint8Array(tinyPng)
const bad = new Uint8Array(Buffer.from('just some text'))

function form(part: string, ...files: Uint8Array<ArrayBuffer>[]): FormData {
  const body = new FormData()
  for (const bytes of files) body.append(part, new Blob([bytes]), 'x.png')
  return body
}

const operations: Record<string, { method: string; path: string; part?: string; several?: boolean }> = {
  uploadAsToChevereto: { method: 'POST', path: '/api/1/upload', part: 'source' },
  uploadAsToLsky: { method: 'POST', path: '/api/v1/upload', part: 'file' },
  uploadAsToPicGo: { method: 'POST', path: '/upload', part: 'file', several: true },
  uploadAsText: { method: 'POST', path: '/', part: 'file', several: true },
  putAsText: { method: 'PUT', path: '/' },
  putNamedAsText: { method: 'PUT', path: '/{name}' },
}

test('without ADAPTERS it has none of them', async () => {
  await using plain = await startApp()
  const text = await (await fetch(`${plain.url}/openapi.json`)).text()
  for (const operationId of Object.keys(operations)) expect(text).not.toContain(operationId)
})

describe.each(Object.entries(operations))(
  '%s is answered as documented',
  (_id, { method, path, part, several }) => {
    const ask = (
      body: FormData | Uint8Array<ArrayBuffer>,
      query = '',
      headers: Record<string, string> = { authorization },
    ) => fetch(`${app.url}${path.replace('{name}', 'x.png')}${query}`, { method, headers, body })
    const one = (bytes: Uint8Array<ArrayBuffer>) => (part === undefined ? bytes : form(part, bytes))

    test.each([
      ['an image', 200, () => ask(one(good))],
      ['no image', 415, () => ask(one(bad))],
      ['an empty one', 400, () => ask(one(new Uint8Array()))],
      ['one too large', 413, () => ask(one(new Uint8Array(pngOfSize(101 * 1024))))],
      ['no key', 401, () => ask(one(good), '', {})],
      ['a wrong key', 401, () => ask(one(good), '', { authorization: 'Bearer wrong' })],
      ['a wrong option', 400, () => ask(one(good), '?expires_in=soon')],
    ])('%s: %i', async (_what, status, call) => {
      const answer = await call()
      expect(answer.status).toBe(status)
      expect(await check(method, path, answer)).toEqual([])
    })

    if (several)
      test('several files, good, bad and both', async () => {
        for (const [files, status] of [
          [[good, good], 200],
          [[good, bad], 207],
          [[bad, bad], 415],
        ] as const) {
          const answer = await ask(form(part ?? '', ...files))
          expect(answer.status).toBe(status)
          expect(await check(method, path, answer)).toEqual([])
        }
      })

    if (part !== undefined)
      test('what is no form, or one without a file', async () => {
        const headers = { authorization, 'content-type': 'image/png' }
        for (const answer of [await ask(good, '', headers), await ask(form('none'))]) {
          expect([400, 415]).toContain(answer.status)
          expect(await check(method, path, answer)).toEqual([])
        }
      })
  },
)

// Last, as it holds the process up for so long that the server in it may refuse uploads.
test('the document is valid, has each operation once, and wants a key for each', async () => {
  expect(await new Validator().validate({ ...structuredClone(document) })).toEqual({ valid: true })
  const found = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(
      ([method, { operationId, security }]) => [operationId, { method, path, security }] as const,
    ),
  )
  const ofAdapters = found.filter(([operationId]) => operationId in operations)
  expect(Object.fromEntries(ofAdapters)).toEqual(
    Object.fromEntries(
      Object.entries(operations).map(([id, { method, path }]) => [
        id,
        { method: method.toLowerCase(), path, security: [{ key: [] }] },
      ]),
    ),
  )
})
