import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

export interface ReadRateOptions {
  /** Bytes a second that a client must take; 0 for no matter how few. */
  readonly minRate: number
  /** Seconds; the rate is an average over several of these. */
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
  const allowances = new Map<Socket, ReadAllowance>()
  app.server.on('connection', (socket: Socket) => {
    allowances.set(socket, new ReadAllowance({ minRate, window }))
    socket.once('close', () => allowances.delete(socket))
  })
  const timer = setInterval(() => {
    for (const [socket, allowance] of allowances) {
      const queued = bytesQueued(socket)
      if (queued === undefined) continue
      const taken = socket.bytesWritten - queued
      if (allowance.spendSecond({ isWaiting: socket.writableLength > 0, taken })) continue
      tooSlow.add(socket)
      socket.destroy()
    }
  }, 1000).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}

/** Windows for which a client that took nothing may make up afterwards, or before. */
const WINDOWS = 4

/**
 * Token bucket of the bytes that a client may be behind. It holds several windows: the system takes
 * megabytes at once and then none until a good part of them has been read, so that a client which
 * reads steadily is seen to take nothing for a while. One that takes nothing at all is cut off by
 * IDLE_TIMEOUT.
 */
export class ReadAllowance {
  #minRate: number
  #most: number
  #left: number
  #before = 0

  constructor({ minRate, window }: ReadRateOptions) {
    this.#minRate = minRate
    this.#most = WINDOWS * window * minRate
    this.#left = this.#most
  }

  /**
   * Accounts for one more second; `taken` is the bytes that the client has taken since it connected.
   * Returns false when it has been too slow.
   */
  spendSecond({ isWaiting, taken }: { isWaiting: boolean; taken: number }): boolean {
    const spent = isWaiting ? this.#minRate : 0
    this.#left = Math.min(this.#most, this.#left + taken - this.#before - spent)
    this.#before = taken
    return this.#left >= 0
  }
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
