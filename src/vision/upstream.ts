import type { Readable } from 'node:stream'
import { type Dispatcher, errors, Pool } from 'undici'
import type { Config } from '../config.ts'
import { Problem, problem, problemWith } from '../errors.ts'
import { StoreError } from '../store/store.ts'
import type { Rewritten } from './rewritten-body.ts'

/** Milliseconds in which the model's server must take a connection. */
const CONNECT_TIMEOUT = 10_000

export interface Call {
  readonly method: 'GET' | 'POST'
  /** Below the upstream's address, with its query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Rewritten
  /** Ends the call, at whatever point it is. */
  readonly signal: AbortSignal
}

/** What the model's server answers. Whoever does not read `body` to its end destroys it. */
export type UpstreamAnswer = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

export interface Upstream {
  /**
   * Calls the model's server; resolves when it begins to answer, whatever with. Never asks a second time: a model would be paid twice. Rejects
   * with a `Problem`, with what the body failed with, or with the signal's reason.
   */
  ask(call: Call): Promise<UpstreamAnswer>
  close(): Promise<void>
}

/** The server behind VISION_UPSTREAM_URL, with connections that are used again. */
export function openUpstream(address: string, { timeout }: Pick<Config['vision'], 'timeout'>): Upstream {
  const { origin, pathname } = new URL(address)
  const base = pathname.replace(/\/$/, '')
  const pool = new Pool(origin, {
    allowH2: false,
    pipelining: 1,
    connect: { timeout: CONNECT_TIMEOUT },
    headersTimeout: timeout * 1000,
    // From one piece of the answer to the next.
    bodyTimeout: timeout * 1000,
  })
  return {
    close: () => pool.destroy(),
    async ask({ method, path, headers, body, signal }) {
      const ofBody = body && { 'content-type': 'application/json', 'content-length': String(body.size) }
      const answer = await pool
        .request({
          ...{ method, path: base + path, signal },
          headers: { ...headers, ...ofBody },
          // Undici takes a generator for what it is, a stream; its type knows fewer kinds.
          body: (body?.read() ?? null) as unknown as Readable | null,
        })
        .catch((error: unknown) => {
          signal.throwIfAborted()
          throw explained(error)
        })
      // Until somebody else listens.
      answer.body.on('error', () => {})
      const { statusCode: status } = answer
      const reason = whyUnusable(status)
      if (reason === undefined) return answer
      answer.body.destroy()
      throw problem('vision_upstream_unreachable', { reason })
    },
  }
}

function whyUnusable(status: number): string | undefined {
  if (status >= 300 && status < 400) return `it redirects (${status}), which is not followed`
  return status > 599 ? `it answers with the status ${status}, which HTTP does not have` : undefined
}

const OUR_FAULTS = [errors.InvalidArgumentError, errors.RequestContentLengthMismatchError]

function explained(error: unknown): unknown {
  // The body's own, as a store fails or an image is deleted while it is sent.
  if (error instanceof Problem || error instanceof StoreError) return error
  if (OUR_FAULTS.some((Fault) => error instanceof Fault)) return error
  const cause = bare(error)
  if (error instanceof errors.HeadersTimeoutError) return problemWith('vision_upstream_timeout', { cause })
  const reason = reasonOf(error, cause.code ?? '')
  return problemWith('vision_upstream_unreachable', { cause }, { reason })
}

function reasonOf(error: unknown, code: string): string {
  if (error instanceof errors.HeadersOverflowError) return 'its headers are too large'
  if (error instanceof errors.HTTPParserError) return 'what it answers is not HTTP'
  if (error instanceof errors.SocketError || code === 'ECONNRESET' || code === 'EPIPE')
    return 'it broke off the connection before it answered'
  return 'it takes no connection'
}

/** An error without what it carries: what could not be read may repeat parts of an answer. */
export function bare(error: unknown): NodeJS.ErrnoException {
  const { name, message, code } = error as NodeJS.ErrnoException
  return Object.assign(new Error(message), { name, ...(code !== undefined && { code }) })
}
