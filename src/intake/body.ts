import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { askForBody } from '../connection.ts'
import { Problem, problem, problemWith } from '../errors.ts'

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

/** What is still to let a body in, by request. */
const admissions = new WeakMap<IncomingMessage, () => Promise<void>>()

/**
 * Calls `admit` once the first bytes of a request's body have arrived, or its end if it has none,
 * and before they are given to whoever reads it. If it rejects, so does reading the body, and no
 * more of it is taken from the connection.
 */
export function whenBodyArrives(raw: IncomingMessage, admit: () => Promise<void>): void {
  admissions.set(raw, admit)
}

/** A request's body, to be read once, in pieces that are gone when the next is asked for: whoever needs one for longer copies it. */
export interface Body extends AsyncIterableIterator<Buffer> {
  /** Why it failed, if it has. */
  readonly failure: Problem | undefined
  /** Reads no more of it. */
  leave(): void
}

/**
 * A request's body, of which at most `maxBody` bytes may come, in pieces that are worth handling. Tells a client that waits with it to
 * go on.
 *
 * Ends only when the whole message has arrived. Fails with a `Problem` if its client stalls, is slower than `MIN_UPLOAD_RATE`, sends
 * too much or in too small pieces, or goes away. When it is left before its end, the rest of the message is left, as the client
 * is still to read why.
 */
export function openBody({ raw, server }: Pick<FastifyRequest, 'raw' | 'server'>, maxBody: number): Body {
  askForBody(raw)
  const admit = admissions.get(raw)
  return new RequestBody(raw, {
    maxBody,
    minRate: server.minUploadRate,
    paceWindow: server.paceWindow,
    admit,
  })
}

interface BodyLimits {
  readonly maxBody: number
  readonly minRate: number
  readonly paceWindow: number
  readonly admit: (() => Promise<void>) | undefined
}

const NONE = Buffer.of()

type Taken = IteratorResult<Buffer, undefined>

/** No stream of its own behind the request's: for small bodies, making one costs more than all that is done with the bytes. */
class RequestBody implements Body {
  failure: Problem | undefined
  #raw: IncomingMessage
  #maxBody: number
  #admit: (() => Promise<void>) | undefined
  #received = 0
  #pieces = 0
  #gathered: Buffer | undefined
  #filled = 0
  #gathering: NodeJS.Timeout | undefined
  #pace: () => void = () => {}
  /** What has come and that nobody has asked for yet. */
  #ready: Buffer[] = []
  #isOver = false
  #reader: PromiseWithResolvers<Taken> | undefined
  /** The piece that is being used. */
  #inUse: Buffer | undefined

  constructor(raw: IncomingMessage, { maxBody, minRate, paceWindow, admit }: BodyLimits) {
    this.#raw = raw
    this.#maxBody = maxBody
    this.#admit = admit
    if (raw.destroyed) {
      this.#end(problem('upload_incomplete'))
      return
    }
    this.#listen('on')
    if (minRate === 0) return
    this.#pace = this.#keepPace(minRate, paceWindow)
    watch(this.#pace)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<Taken> {
    this.#letGo()
    const taken = await this.#read()
    if (this.#admit) await this.#letIn(this.#admit)
    return taken
  }

  async #letIn(admit: () => Promise<void>): Promise<void> {
    this.#admit = undefined
    try {
      await admit()
    } catch (error) {
      const refusal = error instanceof Problem ? error : problemWith('internal', { cause: error })
      this.#end(refusal)
      // Also where the whole body has come already.
      this.failure = refusal
      this.#ready = []
      throw refusal
    }
  }

  async #read(): Promise<Taken> {
    const value = this.#ready.shift()
    if (value !== undefined) {
      if (this.#ready.length === 0 && !this.#isOver) this.#raw.resume()
      this.#inUse = value
      return { value, done: false }
    }
    if (this.failure) throw this.failure
    if (this.#isOver) return { value: undefined, done: true }
    this.#reader ??= Promise.withResolvers()
    return this.#reader.promise
  }

  /** What leaving a loop over it does. */
  async return(): Promise<Taken> {
    this.leave()
    return { value: undefined, done: true }
  }

  leave(): void {
    if (!this.#isOver) this.#end()
  }

  #end(failure?: Problem): void {
    if (this.#isOver) return
    this.#isOver = true
    this.failure = failure
    this.#ready = []
    clearTimeout(this.#gathering)
    watched.delete(this.#pace)
    this.#listen('off')
    this.#raw.pause()
    if (failure) this.#reader?.reject(failure)
    else this.#reader?.resolve({ value: undefined, done: true })
  }

  #listen(how: 'on' | 'off'): void {
    this.#raw[how]('data', this.#take)
    this.#raw[how]('end', this.#finish)
    this.#raw[how]('timeout', this.#stall)
    this.#raw[how]('error', this.#breakOff)
    this.#raw[how]('close', this.#breakOff)
  }

  #stall = () => this.#end(problem('upload_stalled'))

  #breakOff = (cause?: Error) => this.#end(problemWith('upload_incomplete', { cause }))

  #take = (chunk: Buffer): void => {
    this.#received += chunk.length
    this.#pieces += 1
    if (this.#received > this.#maxBody) this.#end(problem('body_too_large'))
    else if (this.#pieces > FREE_PIECES + this.#received / BYTES_PER_PIECE)
      this.#end(problem('body_fragmented'))
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
    const reader = this.#reader
    if (reader === undefined) {
      this.#ready.push(bytes)
      this.#raw.pause()
      return
    }
    this.#reader = undefined
    this.#inUse = bytes
    reader.resolve({ value: bytes, done: false })
  }

  /**
   * Gives back a piece's memory, which the garbage collector would do much later and at several times the cost: to it, such a piece is
   * a few bytes, and what is behind them no reason to look for it soon.
   */
  #letGo(): void {
    const { buffer, byteLength } = this.#inUse ?? NONE
    this.#inUse = undefined
    // Not what others have a part of.
    if (byteLength >= WORTH_HANDLING && buffer instanceof ArrayBuffer && buffer.byteLength === byteLength)
      buffer.transfer(0)
  }

  #finish = (): void => {
    if (!this.#raw.complete) {
      this.#end(problem('upload_incomplete'))
      return
    }
    // What comes after this is about the next request on the connection.
    this.#listen('off')
    watched.delete(this.#pace)
    this.#flush()
    this.#isOver = true
    this.#reader?.resolve({ value: undefined, done: true })
  }

  /** Fails when too little comes. Only the seconds count in which we wait for the client, and not it for us. */
  #keepPace(minRate: number, window: number): () => void {
    let [waited, before] = [0, 0]
    return () => {
      if (this.#raw.readableLength > 0 || this.#ready.length > 0) return
      waited += 1
      if (waited < window) return
      if (this.#received - before < minRate * window) this.#stall()
      ;[waited, before] = [0, this.#received]
    }
  }
}

/** What is looked at once a second, all of it by one timer: most bodies have come before theirs would go off once. */
const watched = new Set<() => void>()
let isWatching = false

function watch(look: () => void): void {
  watched.add(look)
  if (isWatching) return
  isWatching = true
  setInterval(() => {
    for (const each of watched) each()
  }, 1000).unref()
}
