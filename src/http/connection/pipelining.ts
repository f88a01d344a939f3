import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Requests that may wait on a connection before the server stops reading from it. What one read
 * brought waits beyond that.
 */
const MAX_WAITING = 16

/**
 * Memory that all waiting requests of a process may take, in bytes, as `costOf` estimates it. Sockets,
 * what is being read and garbage come on top: 1000 connections that flood take some 240 MB.
 */
const MAX_WAITING_BYTES = 16 * 1024 ** 2

/**
 * What a waiting request takes, in bytes: itself with its response, and each header beside its
 * text. Measured on Node 26: 1.6 KB of heap without headers, and 95 bytes for each; the heap has to
 * be larger than what is in it, so the process grows by up to twice as much.
 */
const COST_OF_REQUEST = 2000
const COST_OF_HEADER = 100
/** What Node may have read of a body that nobody has asked for, in bytes: one read. */
const COST_OF_BODY = 64 * 1024

/** A request that Node has parsed, and the response to it. */
interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** The requests of one connection. */
interface Queue {
  readonly socket: Socket
  /** The response to the request that is in progress, or was last. */
  current: ServerResponse
  waiting: Exchange[]
  /** Bytes that `waiting` takes, estimated. */
  cost: number
  isPaused: boolean
}

export interface PipeliningOptions {
  /**
   * Called when a connection was closed because the requests of all connections together took too
   * much memory.
   */
  readonly onOverflow: () => void
}

/**
 * Serialises pipelined requests: makes a `request` listener that hands a connection's requests to
 * `handle` one after the other, each when the response before it has closed. After a response with
 * `Connection: close`, or when the client has gone, what it had pipelined is dropped, and `handle`
 * never hears of it (RFC 9112, section 9.6).
 *
 * Memory is bounded twice. From `MAX_WAITING` waiting requests on, nothing more is read from the
 * connection; Node parses all that one read has brought, so up to some thousand can wait. When
 * those of all connections together take more than `MAX_WAITING_BYTES`, the connection with the
 * most is closed. A waiting body counts as one read: Node takes no more of it until it is asked for.
 *
 * While nothing is read from a connection, a client that leaves it is noticed when the response is
 * written, or by the timeouts.
 */
export function serialisePipelining(
  server: Server,
  handle: RequestListener,
  { onOverflow }: PipeliningOptions,
): RequestListener {
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  const queues = new WeakMap<Socket, Queue>()
  /** Those in which requests wait. */
  const busy = new Set<Queue>()
  let totalCost = 0
  let areAllPaused = false

  function take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    // Nothing can be answered any more.
    if (!socket.writable) return
    const queue = queues.get(socket)
    if (queue === undefined) {
      queues.set(socket, { socket, current: response, waiting: [], cost: 0, isPaused: false })
      handle(request, response)
    } else if (queue.waiting.length === 0 && queue.current.closed) {
      queue.current = response
      handle(request, response)
    } else enqueue(queue, { request, response })
  }

  function enqueue(queue: Queue, exchange: Exchange): void {
    if (queue.waiting.length === 0) {
      busy.add(queue)
      scheduleNext(queue)
    }
    queue.waiting.push(exchange)
    add(queue, costOf(exchange.request))
    if (queue.waiting.length >= MAX_WAITING) pause(queue)
    if (totalCost > MAX_WAITING_BYTES) closeLargest()
  }

  /**
   * One request a turn of the event loop, so that a connection with many keeps no other waiting.
   */
  function scheduleNext(queue: Queue): void {
    queue.current.once('close', () => setImmediate(handleNext, queue))
  }

  function handleNext(queue: Queue): void {
    if (!queue.socket.writable) drop(queue)
    const next = queue.waiting.shift()
    if (next === undefined) return
    add(queue, -costOf(next.request))
    queue.current = next.response
    if (queue.waiting.length > 0) scheduleNext(queue)
    else busy.delete(queue)
    if (queue.waiting.length < MAX_WAITING) resume(queue)
    handle(next.request, next.response)
  }

  function add(queue: Queue, cost: number): void {
    queue.cost += cost
    totalCost += cost
  }

  function drop(queue: Queue): void {
    add(queue, -queue.cost)
    queue.waiting = []
    busy.delete(queue)
  }

  function closeLargest(): void {
    const largest = [...busy].reduce((most, queue) => (queue.cost > most.cost ? queue : most))
    drop(largest)
    largest.socket.destroy()
    onOverflow()
    pauseAll()
  }

  /**
   * Stops reading from all connections for the rest of this turn of the event loop. The ones that
   * were closed give back their memory at its end, and Node would first read from every connection
   * that has data. Reading resumes with the connections that have no response pending, as whatever
   * the others bring would only wait.
   */
  function pauseAll(): void {
    if (areAllPaused) return
    areAllPaused = true
    const paused = [...open].filter((socket) => !socket.isPaused())
    for (const socket of paused) socket.pause()
    setImmediate(() => {
      areAllPaused = false
      const resumed = paused.filter((socket) => !queues.get(socket)?.isPaused)
      for (const socket of resumed) if (!isAnswering(socket)) socket.resume()
      for (const socket of resumed) if (isAnswering(socket)) socket.resume()
    })
  }

  function isAnswering(socket: Socket): boolean {
    const current = queues.get(socket)?.current
    return current !== undefined && !current.closed && current.req.complete
  }

  return take
}

/** Bytes that a waiting request takes, estimated. */
function costOf({ url = '', headers, rawHeaders }: IncomingMessage): number {
  const text = rawHeaders.reduce((length, part) => length + part.length, url.length)
  const hasBody = Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined
  return COST_OF_REQUEST + (COST_OF_HEADER * rawHeaders.length) / 2 + text + (hasBody ? COST_OF_BODY : 0)
}

/**
 * Stops reading from a connection. Node resumes it by itself, when it has parsed a whole request,
 * when a body is read, and when a response has drained, so this lasts only by pausing again each
 * time.
 */
function pause(queue: Queue): void {
  if (queue.isPaused) return
  queue.isPaused = true
  queue.socket.on('resume', pauseAgain)
  queue.socket.pause()
}

function resume(queue: Queue): void {
  if (!queue.isPaused) return
  queue.isPaused = false
  queue.socket.off('resume', pauseAgain)
  queue.socket.resume()
}

function pauseAgain(this: Socket): void {
  // `resume` and then `pause` in one tick leave the stream paused, but Node's listener to the
  // `resume` that comes late reads again. It stops at the event `pause`, which the method would not
  // emit a second time.
  if (this.isPaused()) this.emit('pause')
  else this.pause()
}
