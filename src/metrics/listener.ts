import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Registry } from '@prometheus-io/client'

export interface Listener {
  /** Where Prometheus finds the metrics. */
  readonly url: string
  close(): Promise<void>
}

/**
 * Answers `GET /metrics`, and nothing else, at an address of its own: what is at the public one, the world can read. Rejects with what
 * the system says if the address cannot be had.
 */
export async function listenForMetrics(
  read: () => Promise<Registry>,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Listener> {
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    response.setHeader('cache-control', 'no-store')
    if (request.url !== '/metrics' || !['GET', 'HEAD'].includes(request.method ?? ''))
      return void response.writeHead(404).end()
    answer(read, response).catch(() => response.writeHead(500).end())
  }).listen({ host, port })
  await once(server, 'listening')
  const { address, family, port: own } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${own}/metrics`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

async function answer(read: () => Promise<Registry>, response: ServerResponse): Promise<void> {
  const registry = await read()
  const text = await registry.metrics()
  response.writeHead(200, { 'content-type': registry.contentType }).end(text)
}
