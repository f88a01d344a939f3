import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A gateway on a real socket that knows some keys, and does as it is told with them. */
export interface Gateway extends AsyncDisposable {
  readonly url: string
  /** The keys it was asked about, in order; not those that nobody has. */
  readonly asked: string[]
  /** How it answers to a key; else 200 to those that begin with "good", and 401. */
  answer: (key: string, ...args: Parameters<RequestListener>) => void
}

/** Where it tells whether a key is good, and whose it is. */
const KNOWN = ['/v1/models', '/v1/key/info']

export async function startGateway(): Promise<Gateway> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const key = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
    // Where a redirect may lead: a page that everybody gets.
    if (request.url === '/login') return response.writeHead(200).end()
    if (request.method !== 'GET' || !KNOWN.includes(request.url ?? '')) return response.writeHead(404).end()
    if (key.startsWith('sk-nobody-')) return gateway.answer(key, request, response)
    asked.push(key)
    gateway.answer(key, request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const gateway: Gateway = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked,
    answer: (key, _request, response) => response.writeHead(key.startsWith('good') ? 200 : 401).end('{}'),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return gateway
}
