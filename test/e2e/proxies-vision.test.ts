import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../src/config.ts'
import { authorization } from '../support/app.ts'
import { startPair } from '../support/behind-proxy.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'
import { installedProxies } from '../support/shipped-proxy.ts'

/** Calls of a model behind the files of `deploy/`: its words come as it says them, and it may think for as long as Layover lets it. */

let model: ModelServer
beforeAll(async () => {
  model = await startModelServer()
})
afterAll(() => model[Symbol.asyncDispose]())

describe.each(installedProxies())('behind %s', (kind) => {
  test.each(['/v1/chat/completions', '/v1/responses', '/v1/messages'])(
    'the first word of POST %s arrives before the second is said',
    async (path) => {
      await using pair = await startPair(kind, { env: { VISION_UPSTREAM_URL: model.url } })
      const read = new EventEmitter()
      model.answer = async (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('data: one\n\n')
        await once(read, 'first')
        response.end('data: two\n\n')
      }
      const { port, cert } = pair.proxy
      const sent = request({
        ...{ host: '127.0.0.1', port, path, method: 'POST', servername: 'localhost', ca: cert, agent: false },
        headers: { authorization, 'content-type': 'application/json', host: 'localhost' },
      })
      sent.end(JSON.stringify({ model: 'stub', stream: true, messages: [], input: [] }))
      const [answer] = await once(sent, 'response')
      const heard: string[] = []
      for await (const piece of answer) {
        heard.push(String(piece))
        read.emit('first')
      }
      expect(heard).toEqual(['data: one\n\n', 'data: two\n\n'])
    },
  )
})

const shipped = (path: string) => readFileSync(join(import.meta.dirname, '../../deploy', path), 'utf8')

test.each([
  ['nginx', () => /proxy_read_timeout (\w+);/.exec(shipped('nginx.conf'))?.[1]],
  ['Caddy', () => /response_header_timeout (\w+)/.exec(shipped('Caddyfile'))?.[1]],
  [
    'Traefik',
    () =>
      parse(shipped('traefik/layover.yml')).http.serversTransports.layover.forwardingTimeouts
        .responseHeaderTimeout,
  ],
  [
    'the Ingress',
    () =>
      `${parse(shipped('kubernetes/ingress.yaml')).metadata.annotations['nginx.ingress.kubernetes.io/proxy-read-timeout']}s`,
  ],
])('%s waits for a model for longer than Layover does', (_name, limit) => {
  const { vision, s3, idleTimeout } = loadConfig({})
  expect(Number(/^(\d+)s$/.exec(limit() ?? '')?.[1])).toBeGreaterThan(
    Math.max(vision.timeout, s3.timeout, idleTimeout),
  )
})
