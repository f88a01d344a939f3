import { once } from 'node:events'
import { type Agent, request } from 'node:https'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { authorization } from './app.ts'
import { uploadOf } from './multipart.ts'
import { freePorts } from './s3-servers.ts'
import { type ServerProcess, startServer } from './server.ts'
import { type ProxyKind, type ShippedProxy, startShipped } from './shipped-proxy.ts'
import { uploadHead } from './socket.ts'
import type { Answer } from './ways.ts'
import { OWN_KEY } from './ways.ts'

export interface Pair extends AsyncDisposable {
  readonly proxy: ShippedProxy
  readonly server: ServerProcess
  /** Its address without the proxy. */
  readonly direct: string
  /** What it was started with. */
  readonly env: Record<string, string>
  /** Of the connections that have ended between the two, how many each has ended first. */
  readonly endings: { proxy: number; server: number }
}

export interface PairOptions {
  readonly env?: Record<string, string>
  readonly change?: Record<string, string>
  readonly dataDir?: string
}

/** A server behind a proxy as `docs/deployment.md` has it, with something between them that watches who ends connections. */
export async function startPair(kind: ProxyKind, { env, change, dataDir }: PairOptions = {}): Promise<Pair> {
  const [port = 0, serverPort = 0] = await freePorts(2)
  const all = {
    ...OWN_KEY,
    PORT: String(serverPort),
    PUBLIC_URL: `https://localhost:${port}`,
    TRUST_PROXY: 'loopback',
    MIN_FREE_SPACE: '0',
    ...env,
  }
  const endings = { proxy: 0, server: 0 }
  const watch = await watcher(serverPort, endings)
  const server = await startServer({ env: all, ...(dataDir && { dataDir }) })
  const proxy = await startShipped(kind, { port, to: watch.port, ...(change && { change }) })
  return {
    proxy,
    server,
    direct: `http://127.0.0.1:${serverPort}`,
    env: all,
    endings,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
      watch.close()
    },
  }
}

/** Passes connections on as they are. */
async function watcher(to: number, endings: { proxy: number; server: number }) {
  const sockets = new Set<Socket>()
  const listener = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true })
    let isOver = false
    const note = (who: 'proxy' | 'server') => {
      if (!isOver) endings[who] += 1
      isOver = true
    }
    near.once('end', () => note('proxy')).once('close', () => far.destroy())
    far.once('end', () => note('server')).once('close', () => near.destroySoon())
    for (const socket of [near, far]) sockets.add(socket.on('error', () => socket.destroy()))
    near.pipe(far).pipe(near)
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    close() {
      for (const socket of sockets) socket.destroy()
      listener.close()
    },
  }
}

export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | number>>
  readonly body?: Buffer | string
  /** Address of loopback to ask from. */
  readonly from?: string
  readonly agent?: Agent
}

/** Asks through the proxy. `wasToldToGoOn`: whether, having asked with Expect, it was told to send the body. Rejects if the connection breaks. */
export function through(
  { port, cert }: Pick<ShippedProxy, 'port' | 'cert'>,
  path: string,
  { method = 'GET', headers = {}, body, from = '127.0.0.1', agent }: Asked = {},
): Promise<Answer & { wasToldToGoOn: boolean }> {
  return new Promise((resolve, reject) => {
    let wasToldToGoOn = false
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const sent = request(
      {
        ...{ host: '127.0.0.1', port, path, method, servername: 'localhost', ca: cert, localAddress: from },
        agent: agent ?? false,
        headers: { authorization, ...length, ...headers, host: 'localhost' },
      },
      (answer) => {
        const { statusCode: status = 0, headers } = answer
        buffer(answer).then((body) => resolve({ status, headers, body, wasToldToGoOn }), reject)
      },
    )
    sent.on('error', reject)
    if (headers.expect === undefined) return void sent.end(body)
    sent.on('continue', () => {
      wasToldToGoOn = true
      sent.end(body)
    })
    sent.flushHeaders()
  })
}

/** Uploads an image through the proxy, as a form. */
export function uploadThrough(proxy: ShippedProxy, image: Buffer, { headers, ...rest }: Asked = {}) {
  const { body, contentType } = uploadOf(image)
  const all = { 'content-type': contentType, ...headers }
  return through(proxy, '/api/upload', { ...rest, method: 'POST', headers: all, body })
}

/** The path of the image that an upload was answered with. */
export const pathOf = ({ body }: Answer) => new URL(JSON.parse(String(body)).data).pathname

/** An upload of which the first bytes have been sent, and the rest when it is told. */
export async function halfSent(proxy: ShippedProxy, image: Buffer, key = authorization) {
  const form = uploadOf(image)
  const socket = await openTls(proxy)
  socket.write(uploadHead(form, key))
  socket.write(form.body.subarray(0, 200_000))
  return {
    socket,
    async finish() {
      socket.write(form.body.subarray(200_000))
      return buffer(socket)
    },
  }
}

async function openTls({ port, cert }: ShippedProxy): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, servername: 'localhost', ca: cert })
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}
