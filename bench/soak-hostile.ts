import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { pngOfSize } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { requestHead } from '../test/support/socket.ts'

/**
 * What the hostile clients of a soak have done so far. The server may cut them off, so none of it
 * is a fault.
 */
export interface Hostility {
  /** Connections that pipelined requests and read no answer. */
  floods: number
  /** Connections that asked for an image and did not read it. */
  stalls: number
}

export interface HostileOptions {
  readonly url: string
  readonly key: string
  readonly hostility: Hostility
  readonly signal: AbortSignal
}

/** Loopback addresses of their own, which tell them apart. The limit for each address is not for loopback. */
const [FLOODER, STALLER] = ['127.0.0.2', '127.0.0.3']
/**
 * How many connections flood at a time, how many bytes each may send, and for how many milliseconds
 * it waits to send more.
 */
const FLOODS = 2
const FLOOD_BYTES = 4 * 1024 ** 2
const FLOOD_PATIENCE = 3000
/**
 * How many readers stall at a time, on an image of how many bytes, and for how many milliseconds.
 */
const READERS = 100
const IMAGE_BYTES = 4 * 1024 ** 2
const STALL_TIME = 5000
/** Milliseconds between two rounds of each. */
const PAUSE = 2000

/**
 * Floods and stalls, at the same time, until they are stopped. Resolves when all connections are
 * closed.
 */
export async function hostileClients(options: HostileOptions): Promise<void> {
  const port = Number(new URL(options.url).port)
  await Promise.all([repeat(options.signal, flood), repeat(options.signal, stall)])

  async function flood(): Promise<void> {
    const sockets = await openAll(FLOODS, port, FLOODER)
    await Promise.all(sockets.map(pipeline))
    options.hostility.floods += sockets.length
    for (const socket of sockets) socket.destroy()
  }

  /** Few connections, each with an answer that does not fit in the buffers of the system. */
  async function stall(): Promise<void> {
    const path = await upload(options)
    if (path === undefined) return
    const sockets = await openAll(READERS, port, STALLER)
    for (const socket of sockets) socket.write(requestHead(`GET ${path}`))
    await wait(STALL_TIME, options.signal)
    options.hostility.stalls += sockets.length
    for (const socket of sockets) socket.destroy()
  }
}

async function repeat(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    // Refused or cut off: it comes again.
    await work().catch(() => {})
    await wait(PAUSE, signal)
  }
}

/**
 * Those of so many connections that the server takes. Nothing is read from them, but for what Node
 * buffers.
 */
async function openAll(count: number, port: number, localAddress: string): Promise<Socket[]> {
  const opened = Array.from({ length: count }, async () => {
    const socket = connect({ host: '127.0.0.1', port, localAddress })
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  })
  const settled = await Promise.allSettled(opened)
  return settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
}

/** Sends as many small requests as the server takes, up to a limit. */
async function pipeline(socket: Socket): Promise<void> {
  const requests = Buffer.from('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000))
  for (let sent = 0; sent < FLOOD_BYTES && !socket.destroyed; sent += requests.length) {
    if (socket.write(requests)) continue
    const patience = AbortSignal.timeout(FLOOD_PATIENCE)
    const isTaken = await once(socket, 'drain', { signal: patience }).then(Boolean, () => false)
    if (!isTaken) return
  }
}

/** The path of a new image; undefined if it was refused. */
async function upload({ url, key, signal }: HostileOptions): Promise<string | undefined> {
  const { body, contentType } = uploadOf(pngOfSize(IMAGE_BYTES))
  const response = await fetch(`${url}/api/upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': contentType },
    body: new Uint8Array(body),
    signal,
  })
  const { data } = (await response.json()) as { data: string | null }
  return data === null ? undefined : new URL(data).pathname
}

/** Until then, or until it is stopped. */
async function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {})
}
