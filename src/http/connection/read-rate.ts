import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

export interface ReadRateOptions {
  /** Bytes a second that a client must take; 0 for no matter how few. */
  readonly minRate: number
  /** Seconds of waiting for the client over which that is measured. */
  readonly window: number
}

/** Connections that were closed because their clients read too slowly. */
const tooSlow = new WeakSet<Socket>()

/** Whether a connection was closed because its client read too slowly. */
export function wasTooSlow(socket: Socket): boolean {
  return tooSlow.has(socket)
}

/**
 * Minimum read rate: closes connections whose clients take too few bytes of what is there for them.
 * Only seconds count in which bytes wait for the client, not those in which the client waits for a
 * store or a model. One timer looks at all connections.
 */
export function keepReadRate(app: FastifyInstance, { minRate, window }: ReadRateOptions): void {
  if (minRate === 0) return
  const paces = new Map<Socket, Pace>()
  app.server.on('connection', (socket: Socket) => {
    paces.set(socket, { waited: 0, before: 0 })
    socket.once('close', () => paces.delete(socket))
  })
  const timer = setInterval(() => {
    for (const [socket, pace] of paces) {
      if (isFastEnough(socket, pace, minRate * window, window)) continue
      tooSlow.add(socket)
      socket.destroy()
    }
  }, 1000).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}

/**
 * What is known of a connection: seconds since it was measured, and bytes that its client had taken
 * then.
 */
interface Pace {
  waited: number
  before: number
}

function isFastEnough(socket: Socket, pace: Pace, least: number, window: number): boolean {
  if (socket.writableLength === 0) return true
  pace.waited += 1
  if (pace.waited < window) return true
  const queued = bytesQueued(socket)
  if (queued === undefined) return true
  const taken = socket.bytesWritten - queued
  const isEnough = taken - pace.before >= least
  pace.waited = 0
  pace.before = taken
  return isEnough
}

/**
 * Bytes of a connection that the system has not taken yet. Node documents nothing that tells how
 * far a write under way has come (`writableLength` falls only when all of it is done), so this
 * reads the same internal count as Node's own socket timeout. Where a version of Node has none,
 * undefined: nobody is cut off then but by `IDLE_TIMEOUT`.
 */
function bytesQueued(socket: Socket): number | undefined {
  const { _handle: handle } = socket as { _handle?: { writeQueueSize?: unknown } | null }
  const size = handle?.writeQueueSize
  return typeof size === 'number' ? size : undefined
}
