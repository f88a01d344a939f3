import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ApiDocument, checker } from '../support/api-document.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'

let model: ModelServer
let app: TestApp
let document: ApiDocument
beforeAll(async () => {
  model = await startModelServer()
  app = await startApp({ env: { VISION_UPSTREAM_URL: model.url } })
  document = (await (await fetch(`${app.url}/openapi.json`)).json()) as ApiDocument
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await model[Symbol.asyncDispose]()
})

const PATHS = ['/v1/chat/completions', '/v1/responses', '/v1/messages']
const unreadable = 'data:image/png;base64,AAAA'

test('with VISION_UPSTREAM_URL the document has the calls of a model, and is valid', async () => {
  expect(await new Validator().validate({ ...structuredClone(document) })).toEqual({ valid: true })
  for (const path of [...PATHS, '/v1/models']) expect(document.paths[path]).toBeDefined()
})

test.each(PATHS)('says how %s answers, and refuses', async (path) => {
  const check = checker(document)
  const ask = (body: string, headers: Record<string, string> = { authorization }) =>
    fetch(app.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    })
  const image = {
    type: 'image',
    source: { type: 'base64', data: unreadable.split(',')[1] },
    image_url: unreadable,
  }
  const list = [{ role: 'user', content: [image] }]
  const cases: [number, Promise<Response>][] = [
    [200, ask('{}')],
    [400, ask(JSON.stringify({ messages: list, input: list }))],
    [400, ask('{')],
    [401, ask('{}', {})],
    [415, ask('{}', { authorization, 'content-type': 'text/plain' })],
  ]
  for (const [status, answer] of cases) {
    expect((await answer).status).toBe(status)
    expect(await check('POST', path, await answer)).toEqual([])
  }
})

test('says that other methods are not taken', async () => {
  for (const path of PATHS)
    expect((await fetch(app.url + path, { headers: { authorization } })).status).toBe(405)
  expect((await fetch(`${app.url}/v1/models`, { method: 'HEAD' })).status).toBe(405)
})
