import { Client, type Dispatcher } from 'undici'
import type { Allowance } from '../../config-values.ts'
import { Problem, problem, problemWith } from '../../errors.ts'
import { openConnection } from './connection.ts'
import type { Network } from './network.ts'
import { BadUrl, isBelow, readTarget, type Target } from './target.ts'

const MOST_REDIRECTS = 5
const REDIRECTS = [301, 302, 303, 307, 308]

/** Milliseconds that each part of a fetch may take, besides the whole. */
export const PATIENCE = { connect: 5000, headers: 10_000, idle: 10_000 }

export interface FetchOptions {
  readonly network: Network
  /** What may be reached besides public addresses. */
  readonly allow: readonly Allowance[]
  /** This server's own addresses, which are not fetched from. */
  readonly own: readonly string[]
  readonly userAgent: string
  /** Bytes. */
  readonly maxFileSize: number
  /** Milliseconds for all of it. */
  readonly totalTime: number
  readonly patience?: typeof PATIENCE
  /** Aborted when nobody wants the image any more. */
  readonly signal: AbortSignal
}

/** The options of one request, whose signal is that of the time limit too. */
type AskOptions = FetchOptions & { readonly patience: typeof PATIENCE }

/**
 * What is at a URL, as it comes; ends only when it is whole. Fails with a `Problem`, or with the signal's reason, and leaves no
 * connection, however it ends. How much comes is for the reader to limit, who sees each piece.
 */
export async function* fetchImage(url: string, options: FetchOptions): AsyncGenerator<Buffer> {
  const tooLate = AbortSignal.timeout(options.totalTime)
  const signal = AbortSignal.any([options.signal, tooLate])
  try {
    await using answer = await follow(url, { patience: PATIENCE, ...options, signal })
    refuseUnlessWanted(answer, options.maxFileSize)
    yield* pieces(answer)
  } catch (cause) {
    options.signal.throwIfAborted()
    throw tooLate.aborted ? problemWith('url_timeout', { cause }) : cause
  }
}

/** Asks the URL, and whatever it leads to. */
async function follow(url: string, options: AskOptions): Promise<Answer> {
  let target = firstTarget(url, options)
  for (let redirects = 0; ; redirects += 1) {
    const answer = await ask(target, options)
    const { location } = answer.headers
    if (!REDIRECTS.includes(answer.status) || location === undefined) return answer
    await answer[Symbol.asyncDispose]()
    if (redirects === MOST_REDIRECTS)
      throw problem('url_redirect_refused', { reason: `there are more than ${MOST_REDIRECTS}` })
    // Some servers send it in UTF-8, though no header should be; the library reads each byte as a character.
    const to = Buffer.from(String(location), 'latin1').toString()
    target = nextTarget(to, target, options)
  }
}

function firstTarget(url: string, { allow, own }: AskOptions): Target {
  const target = targetOr(() => readTarget(url, allow), 'url_invalid')
  if (isBelow(target.url, own)) throw problem('url_of_this_server')
  return target
}

function nextTarget(location: string, from: Target, { allow, own }: AskOptions): Target {
  const target = targetOr(() => readTarget(location, allow, from.url), 'url_redirect_refused')
  if (from.url.protocol === 'https:' && target.url.protocol === 'http:')
    throw problem('url_redirect_refused', { reason: 'it leads from https to http' })
  if (isBelow(target.url, own)) throw problem('url_of_this_server')
  return target
}

function targetOr(read: () => Target, code: 'url_invalid' | 'url_redirect_refused'): Target {
  try {
    return read()
  } catch (error) {
    if (error instanceof BadUrl) throw problem(code, { reason: error.message })
    throw error
  }
}

/** What a server answers. Disposing of it ends the connection. */
interface Answer extends AsyncDisposable {
  readonly status: number
  readonly headers: Dispatcher.ResponseData['headers']
  readonly body: AsyncIterable<Buffer>
}

async function ask(target: Target, options: AskOptions): Promise<Answer> {
  const { patience, signal, userAgent } = options
  const socket = await openConnection(target, { ...options, connectTime: patience.connect })
  const connections = [socket]
  const client = new Client(target.url.origin, {
    // The one connection that was checked; there is no second. Later, as the client does not expect it at once.
    connect(_options, done) {
      const next = connections.pop()
      queueMicrotask(() => (next ? done(null, next) : done(new Error('the connection is gone'), null)))
    },
    headersTimeout: patience.headers,
    bodyTimeout: patience.idle,
  })
  const close = async () => {
    await client.destroy()
    socket.destroy()
  }
  try {
    const {
      statusCode: status,
      headers,
      body,
    } = await client.request({
      method: 'GET',
      path: target.url.pathname + target.url.search,
      headers: { 'user-agent': userAgent, accept: 'image/*', 'accept-encoding': 'identity' },
      // One request a connection.
      reset: true,
      signal,
    })
    // Closing the connection is an error to a body that nobody reads.
    body.on('error', () => {})
    return { status, headers, body, [Symbol.asyncDispose]: close }
  } catch (cause) {
    await close()
    if (isTimeout(cause)) throw problemWith('url_timeout', { cause })
    throw problemWith(
      'url_unreachable',
      { cause: bare(cause) },
      { reason: 'what answers there is no web server' },
    )
  }
}

/** Refuses by an answer's headers what need not be read. */
function refuseUnlessWanted({ status, headers }: Answer, maxFileSize: number): void {
  if (status !== 200) throw problem('url_http_error', { status })
  const encoding = String(headers['content-encoding'] ?? '').trim()
  if (!/^(identity)?$/i.test(encoding)) throw problem('url_answer_encoded')
  if (Number(headers['content-length'] ?? 0) > maxFileSize)
    throw problem('file_too_large', { limit: maxFileSize })
}

async function* pieces({ body }: Answer): AsyncGenerator<Buffer> {
  try {
    yield* body
  } catch (cause) {
    if (cause instanceof Problem) throw cause
    throw problemWith(isTimeout(cause) ? 'url_timeout' : 'url_answer_incomplete', {
      cause: bare(cause),
    })
  }
}

/** An error of the client's without what it carries: the bytes that it could not read may repeat the URL's path. */
function bare(error: unknown): Error {
  const { name, message, code } = error as NodeJS.ErrnoException
  return Object.assign(new Error(message), { name, code })
}

function isTimeout(error: unknown): boolean {
  const { code = '' } = error as { code?: string }
  return code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT'
}
