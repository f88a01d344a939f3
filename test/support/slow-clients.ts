import type { Socket } from 'node:net'
import { pngOfSize } from './images.ts'
import { uploadOf } from './multipart.ts'
import { openSocket, requestHead, uploadHead } from './socket.ts'

export interface SlowClientsOptions {
  readonly port: number
  readonly authorization: string
  /** Path of an image that no buffer between client and server can hold. */
  readonly imagePath: string
  /** Of each of the four kinds. */
  readonly each: number
  /** Whether one that is cut comes back. */
  readonly renew?: boolean
}

/** Clients that take their time. Disposing of them ends them. */
export interface SlowClients extends Disposable {
  /** How many of them do not know that they have been cut: one that does not read never learns it. */
  open(): number
}

/** Milliseconds between the bytes of one that drips. */
const DRIP = 2000
/** Connections of a kind that are opened at once, so that none waits long to be accepted. */
const AT_ONCE = 50

/** Opens clients that stop within their headers, that drip a body, that stop reading an image, and that keep a connection for nothing. */
export async function openSlowClients(options: SlowClientsOptions): Promise<SlowClients> {
  const { port, each, renew = false } = options
  const sockets = new Set<Socket>()
  let isOver = false
  const begin = async (kind: Kind): Promise<void> => {
    const socket = await openSocket(port)
    if (isOver) return void socket.destroy()
    sockets.add(socket)
    socket.once('close', () => {
      sockets.delete(socket)
      if (renew && !isOver) setTimeout(() => begin(kind).catch(() => {}), 100).unref()
    })
    kind(socket, options)
  }
  const open = async (kind: Kind) => {
    for (let opened = 0; opened < each; opened += AT_ONCE)
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, each - opened) }, () => begin(kind)))
  }
  await Promise.all([halfHeaders, drip, stopReading, keepAlive].map(open))
  return {
    open: () => sockets.size,
    [Symbol.dispose]: () => {
      isOver = true
      for (const socket of sockets) socket.destroy()
    },
  }
}

type Kind = (socket: Socket, options: SlowClientsOptions) => void

const form = uploadOf(pngOfSize(100_000))

const halfHeaders: Kind = (socket) => {
  socket.resume()
  socket.write('POST /api/upload HTTP/1.1\r\nHost: localhost\r\nX-Half')
}

const drip: Kind = (socket, { authorization }) => {
  socket.resume()
  socket.write(uploadHead(form, authorization))
  let sent = 0
  const timer = setInterval(() => {
    socket.write(form.body.subarray(sent, sent + 1))
    sent += 1
  }, DRIP)
  socket.once('close', () => clearInterval(timer))
}

const stopReading: Kind = (socket, { imagePath }) => {
  socket.pause()
  socket.write(requestHead(`GET ${imagePath}`))
}

const keepAlive: Kind = (socket) => {
  socket.resume()
  socket.write(requestHead('GET /robots.txt', { Connection: 'keep-alive' }))
}
