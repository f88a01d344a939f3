import { request } from 'node:https'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { apiKey } from '../support/app.ts'
import { startPair } from '../support/behind-proxy.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'
import { startServer } from '../support/server.ts'
import { installedProxies } from '../support/shipped-proxy.ts'
import { eventually } from '../support/socket.ts'

let model: ModelServer
beforeAll(async () => {
  model = await startModelServer()
})
afterAll(() => model[Symbol.asyncDispose]())

test.each(installedProxies())('behind %s, an answer comes token by token', async (kind) => {
  await using pair = await startPair(kind, {
    env: { VISION_UPSTREAM_URL: model.url, API_KEYS: `tester:${apiKey}` },
  })
  const next = Promise.withResolvers<void>()
  model.answer = async (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-redirect': '/inside' })
    response.write('data: one\n\n')
    await next.promise
    response.end('data: two\n\n')
  }
  const { proxy } = pair
  const answer = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    request(`${proxy.url}/v1/responses`, {
      ...{ method: 'POST', ca: proxy.cert },
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    })
      .on('response', resolve)
      .on('error', reject)
      .end('{}')
  })
  let text = ''
  for await (const piece of answer) {
    text += piece
    next.resolve()
  }
  expect(text).toBe('data: one\n\ndata: two\n\n')
})

test('a server that is told to stop lets an answer come to its end', async () => {
  await using server = await startServer({
    env: { HOST: '127.0.0.1', MIN_FREE_SPACE: '0', VISION_UPSTREAM_URL: model.url },
  })
  let end = () => {}
  model.answer = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: one\n\n')
    end = () => response.end('data: two\n\n')
  }
  const answer = await fetch(`${server.url}/v1/responses`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key()}`, 'content-type': 'application/json' },
    body: '{}',
  })
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  expect((await reader?.read())?.value).toBe('data: one\n\n')
  const stopped = server.stop('SIGTERM')
  // From here on, nobody can come in any more.
  await eventually(async () => {
    const isIn = await fetch(`${server.url}/healthz`).then(
      () => true,
      () => false,
    )
    if (isIn) throw new Error('it still listens')
    return true
  })
  end()
  expect((await reader?.read())?.value).toBe('data: two\n\n')
  expect((await reader?.read())?.done).toBe(true)
  expect(await stopped).toEqual({ code: 0, signal: null })
})
