import { once } from 'node:events'
import { request } from 'node:https'
import { expect, test } from 'vitest'
import { authorization } from '../support/app.ts'
import { startPair } from '../support/behind-proxy.ts'
import { startOrigin } from '../support/remote.ts'
import { installedProxies } from '../support/shipped-proxy.ts'

test.each(installedProxies())(
  'behind %s, a piece of a model’s answer comes before the next is made',
  async (kind) => {
    const { promise: isSeen, resolve: seen } = Promise.withResolvers<void>()
    await using model = await startOrigin((asked, answer) => {
      asked.resume()
      answer.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n')
      void isSeen.then(() => answer.end('data: second\n\n'))
    })
    const env = { VISION_UPSTREAM_URL: `http://127.0.0.1:${model.port}/v1`, VISION_UPSTREAM_KEY: 'theirs' }
    await using pair = await startPair(kind, { env })
    const call = request({
      method: 'POST',
      host: '127.0.0.1',
      port: pair.proxy.port,
      path: '/v1/chat/completions',
      servername: 'localhost',
      ca: pair.proxy.cert,
      headers: { authorization, host: 'localhost', 'content-type': 'application/json' },
    }).end('{"model":"m","stream":true,"messages":[]}')
    const [answer] = await once(call, 'response')
    let text = ''
    for await (const piece of answer) {
      text += piece
      if (text.includes('first')) seen()
    }
    expect(text).toBe('data: first\n\ndata: second\n\n')
  },
)
