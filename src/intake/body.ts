import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { askForBody } from '../connection.ts'
import { problem, problemWith } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Bytes a second that a body must arrive with; 0 for no matter how few. */
    readonly minUploadRate: number
    /** Over how many seconds of waiting for the client that is taken. */
    readonly paceWindow: number
  }
}

/** What smaller pieces are gathered to, in bytes, and how long they may be kept for that, in milliseconds. */
const WORTH_HANDLING = 16 * 1024
const GATHERING_TIME = 50

/**
 * How many pieces a body may come in: so many whatever its size, and then one for so many bytes. Each costs the parser of HTTP as
 * much as kilobytes do, so that a body in chunks of a byte would keep a core busy for a minute.
 */
const FREE_PIECES = 64 * 1024
const BYTES_PER_PIECE = 64

/**
 * A request's body, of which at most `maxBody` bytes may come, in pieces that are worth handling. Tells a client that waits with it to
 * go on.
 *
 * Ends only when the whole message has arrived. Fails with a `Problem` if its client stalls, is slower than `MIN_UPLOAD_RATE`, sends
 * too much or in too small pieces, or goes away. When it is destroyed before its end, the rest of the message is left, as the client
 * is still to read why.
 */
export function openBody({ raw, server }: FastifyRequest, maxBody: number): Readable {
  askForBody(raw)
  return new Body(raw, { maxBody, minRate: server.minUploadRate, paceWindow: server.paceWindow })
}

interface BodyLimits {
  readonly maxBody: number
  readonly minRate: number
  readonly paceWindow: number
}

class Body extends Readable {
  #raw: IncomingMessage
  #maxBody: number
  #received = 0
  #pieces = 0
  #gathered: Buffer | undefined
  #filled = 0
  #gathering: NodeJS.Timeout | undefined
  #pace: NodeJS.Timeout | undefined

  constructor(raw: IncomingMessage, { maxBody, minRate, paceWindow }: BodyLimits) {
    super()
    this.#raw = raw
    this.#maxBody = maxBody
    // Whoever reads it may have left before, when it fails.
    this.on('error', () => {})
    if (raw.destroyed) {
      this.destroy(problem('upload_incomplete'))
      return
    }
    this.#listen('on')
    if (minRate > 0) this.#keepPace(minRate, paceWindow)
  }

  override _read(): void {
    this.#raw.resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#gathering)
    clearInterval(this.#pace)
    this.#listen('off')
    this.#raw.pause()
    done(error)
  }

  #listen(how: 'on' | 'off'): void {
    this.#raw[how]('data', this.#take)
    this.#raw[how]('end', this.#finish)
    this.#raw[how]('timeout', this.#stall)
    this.#raw[how]('error', this.#breakOff)
    this.#raw[how]('close', this.#breakOff)
  }

  #fail(code: 'body_too_large' | 'body_fragmented' | 'upload_incomplete' | 'upload_stalled'): void {
    this.destroy(problem(code))
  }

  #stall = () => this.#fail('upload_stalled')

  #breakOff = (cause?: Error) => this.destroy(problemWith('upload_incomplete', { cause }))

  #take = (chunk: Buffer): void => {
    this.#received += chunk.length
    this.#pieces += 1
    if (this.#received > this.#maxBody) this.#fail('body_too_large')
    else if (this.#pieces > FREE_PIECES + this.#received / BYTES_PER_PIECE) this.#fail('body_fragmented')
    else this.#gather(chunk)
  }

  #gather(chunk: Buffer): void {
    if (this.#filled + chunk.length > WORTH_HANDLING) this.#flush()
    if (chunk.length >= WORTH_HANDLING) {
      this.#give(chunk)
      return
    }
    this.#gathered ??= Buffer.allocUnsafeSlow(WORTH_HANDLING)
    this.#filled += chunk.copy(this.#gathered, this.#filled)
    this.#gathering ??= setTimeout(() => this.#flush(), GATHERING_TIME)
  }

  #flush(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    // As a copy, if it is little: a reader that keeps it would else keep all of the room for more.
    const gathered = this.#gathered?.subarray(0, this.#filled)
    if (gathered) this.#give(this.#filled < WORTH_HANDLING / 2 ? Buffer.from(gathered) : gathered)
    this.#gathered = undefined
    this.#filled = 0
  }

  #give(bytes: Buffer): void {
    if (!this.push(bytes)) this.#raw.pause()
  }

  #finish = (): void => {
    if (!this.#raw.complete) {
      this.#fail('upload_incomplete')
      return
    }
    // What comes after this is about the next request on the connection.
    this.#listen('off')
    clearInterval(this.#pace)
    this.#flush()
    this.push(null)
  }

  /** Fails when too little comes. Only the seconds count in which we wait for the client, and not it for us. */
  #keepPace(minRate: number, window: number): void {
    let [waited, before] = [0, 0]
    this.#pace = setInterval(() => {
      if (this.#raw.readableLength > 0 || this.readableLength > 0) return
      waited += 1
      if (waited < window) return
      if (this.#received - before < minRate * window) this.#fail('upload_stalled')
      ;[waited, before] = [0, this.#received]
    }, 1000)
    this.#pace.unref()
  }
}
