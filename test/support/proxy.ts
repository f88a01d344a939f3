import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Proxy extends AsyncDisposable {
  readonly url: string
}

export interface ProxyOptions {
  /** Where it passes requests on to. */
  readonly to: string
  /** Bytes of a body that it lets pass, by Content-Length. */
  readonly limit?: number
  /** The same, but noticed only as they come. */
  readonly streamLimit?: number
  /** May change the request's headers, or answer by itself and say so. */
  readonly before?: (request: IncomingMessage, response: ServerResponse) => boolean
  /** May change the headers of the answer that came. */
  readonly after?: (answer: IncomingMessage, request: IncomingMessage) => void
}

/** A reverse proxy on loopback that does something which proxies do. */
export async function startProxy({ to, limit, streamLimit, before, after }: ProxyOptions): Promise<Proxy> {
  function refuse(response: ServerResponse): void {
    response.writeHead(413, { 'content-type': 'text/html', connection: 'close' }).end('<h1>No</h1>')
  }

  function pass(asked: IncomingMessage, response: ServerResponse): void {
    const isTooLarge = limit !== undefined && Number(asked.headers['content-length'] ?? 0) > limit
    if (isTooLarge) refuse(response)
    if (isTooLarge || before?.(asked, response)) return
    const { method = 'GET', headers } = asked
    const onward = request(new URL(asked.url ?? '/', to), { method, headers, agent: false })
    let received = 0
    asked.on('data', (piece: Buffer) => {
      received += piece.length
      if (streamLimit === undefined || received <= streamLimit || response.headersSent) return
      onward.destroy()
      refuse(response)
    })
    onward.on('continue', () => response.writeContinue())
    onward.on('error', () => response.destroy())
    onward.on('response', (answer) => {
      after?.(answer, asked)
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    asked.pipe(onward)
    if (headers.expect !== undefined) onward.flushHeaders()
  }

  const server = createServer(pass).on('checkContinue', pass).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
