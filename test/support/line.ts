import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP connection's way to another server, which can be counted and cut. */
export interface Line extends AsyncDisposable {
  readonly endpoint: string
  /** Connections ever made. */
  opened(): number
  /** Connections at this moment. */
  open(): number
  /** Cuts all connections, and takes no new one. */
  cut(): void
  /** Cuts as soon as so many more bytes have gone to the server. */
  cutAfter(bytes: number): void
  restore(): void
}

/** Lays a line to the server at `endpoint`, an address on loopback. */
export async function layLine(endpoint: string): Promise<Line> {
  const target = Number(new URL(endpoint).port)
  const sockets = new Set<Socket>()
  let [opened, isCut, left] = [0, false, Number.POSITIVE_INFINITY]

  function cut() {
    isCut = true
    for (const socket of sockets) socket.resetAndDestroy()
  }

  const server = createServer((client) => {
    if (isCut) return void client.resetAndDestroy()
    const upstream = connect({ host: '127.0.0.1', port: target })
    opened += 1
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (chunk) => {
      left -= chunk.length
      if (left < 0) cut()
    })
    client.pipe(upstream).pipe(client)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    opened: () => opened,
    open: () => sockets.size / 2,
    cut,
    cutAfter: (bytes) => {
      left = bytes
    },
    restore: () => {
      isCut = false
      left = Number.POSITIVE_INFINITY
    },
    async [Symbol.asyncDispose]() {
      cut()
      server.close()
    },
  }
}
