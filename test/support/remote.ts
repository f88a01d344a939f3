import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, isIP, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { type Dialled, machineNetwork, type Network } from '../../src/intake/remote/network.ts'
import { authorization, type TestApp } from './app.ts'

/** Asks a server to fetch an image. */
export async function uploadByUrl(
  app: Pick<TestApp, 'url'>,
  members: object,
  { query = '', signal }: { query?: string; signal?: AbortSignal } = {},
) {
  const response = await fetch(`${app.url}/v1/files/uploads/url${query}`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(members),
    ...(signal && { signal }),
  })
  const body = (await response.json()) as Record<string, string> & { error?: { code: string } }
  return { status: response.status, code: body.error?.code, body }
}

/** A server of somebody else's, on loopback, that counts its connections. */
export interface Origin extends AsyncDisposable {
  readonly port: number
  /** Connections so far, and those that are open. */
  readonly seen: number
  readonly open: number
  /** Bytes that have come, as text. */
  readonly received: string
}

/** One that speaks HTTP. */
export async function startOrigin(listener: RequestListener): Promise<Origin> {
  const server = createServer({ keepAliveTimeout: 60_000 }, listener)
  return started(server, () => server.closeAllConnections())
}

/** One that does with a connection as it likes; with TLS if it has a certificate. */
export function startRawOrigin(
  onConnection: (socket: Socket) => void,
  certificate?: { key: string; cert: string },
): Promise<Origin> {
  const quietly = (socket: Socket) => {
    socket.on('error', () => {})
    onConnection(socket)
  }
  const server = certificate ? createTlsServer(certificate, quietly) : createTcpServer(quietly)
  return started(server, () => {})
}

/** Listens on both loopback addresses where there are two, at the same port. */
async function started(server: Server, close: () => void): Promise<Origin> {
  const sockets = new Set<Socket>()
  let [seen, received] = [0, '']
  const count = (socket: Socket) => {
    seen += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      received += chunk
    })
    socket.once('close', () => sockets.delete(socket))
  }
  server.on('connection', count)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const second = createTcpServer(count)
  await once(second.listen(port, '::1'), 'listening').catch(() => {})
  return {
    port,
    get seen() {
      return seen
    },
    get open() {
      return sockets.size
    },
    get received() {
      return received
    },
    async [Symbol.asyncDispose]() {
      close()
      for (const socket of sockets) socket.destroy()
      second.close()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Names as tests have them: addresses, or one list for each time that they are asked for. */
export type Names = Readonly<Record<string, readonly string[] | readonly (readonly string[])[]>>

/** A network whose names are those given, and from which nothing but loopback is reached: the rest refuses to connect. */
export function testNetwork(
  names: Names,
): Network & { readonly asked: string[]; readonly dialled: Dialled[] } {
  const asked: string[] = []
  const dialled: Dialled[] = []
  return {
    asked,
    dialled,
    async resolve(hostname) {
      const times = asked.filter((name) => name === hostname).length
      asked.push(hostname)
      const found = names[hostname]
      if (found === undefined) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
      const [first] = found
      const list = (typeof first === 'object' ? (found[times] ?? found.at(-1)) : found) as readonly string[]
      return list.map((address) => ({ address, family: isIP(address) }))
    },
    async dial(to) {
      dialled.push(to)
      const isLoopback = to.addresses.every(({ address }) => ['127.0.0.1', '::1'].includes(address))
      if (isLoopback) return machineNetwork.dial(to)
      throw Object.assign(new Error('no way there'), { code: 'ECONNREFUSED' })
    },
  }
}
