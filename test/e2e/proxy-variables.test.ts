import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { fixture, sha256 } from '../support/images.ts'
import { startServer } from '../support/server.ts'

async function listening(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

test('an image is fetched from the address that was checked, and from no proxy that the environment names', async () => {
  const image = fixture('photo.png')
  const origin = createServer((_request, response) => response.end(image))
  const asked: (string | undefined)[] = []
  const proxy = createServer((request, response) => {
    asked.push(request.url)
    response.end(fixture('photo.gif'))
  }).on('connect', (request, socket) => {
    asked.push(request.url)
    socket.end()
  })
  const [port, proxyPort] = [await listening(origin), await listening(proxy)]
  const address = `http://127.0.0.1:${proxyPort}`
  const names = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']
  await using server = await startServer({
    env: {
      ...Object.fromEntries(names.map((name) => [name, address])),
      NODE_USE_ENV_PROXY: '1',
      URL_FETCH_ALLOW: `127.0.0.1:${port}`,
    },
  })
  const answer = await fetch(`${server.url}/v1/files/uploads/url`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ url: `http://127.0.0.1:${port}/photo.png` }),
  })
  const { url } = (await answer.json()) as { url: string }
  const hosted = Buffer.from(await (await fetch(url)).arrayBuffer())
  expect(sha256(hosted)).toBe(sha256(image))
  expect(asked).toEqual([])
  origin.close()
  proxy.close()
})
