import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { request as httpsRequest } from 'node:https'
import { readAnswer } from '../read-answer.ts'
import { Finding } from './verdict.ts'

/** Milliseconds for a question and its answer. */
export const ASK_LIMIT = 10_000

/** What doctor calls itself, where it does not play somebody else. */
export const PLAIN = { 'user-agent': 'Layover-doctor' }

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export interface Question {
  readonly method?: string
  /** All that are sent besides Host: there is no User-Agent unless it is here. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Asks an address of the operator's own, private or not. Follows no redirect. Rejects with a `Finding` if there is no answer. */
export async function ask(url: string, { method = 'GET', headers = {} }: Question = {}): Promise<Answer> {
  const asked = begin(url, { method, headers, signal: AbortSignal.timeout(ASK_LIMIT) })
  asked.end()
  return answerTo(asked, url)
}

/** Begins a request, on a connection of its own. */
export function begin(url: string, options: RequestOptions): ClientRequest {
  const request = url.startsWith('https:') ? httpsRequest : httpRequest
  return request(url, { agent: false, ...options })
}

/** Reads the answer. Rejects with a `Finding` if there is none. */
export async function answerTo(asked: ClientRequest, url: string): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  // It stays, as the connection may also break after the answer.
  asked.on('error', reject).once('response', resolve)
  try {
    const answer = await promise
    return { status: answer.statusCode ?? 0, headers: answer.headers, body: await readAnswer(answer) }
  } catch (error) {
    throw new Finding(`${new URL(url).origin} ${because(error)}`)
  } finally {
    asked.destroy()
  }
}

/** Why a connection failed, in words. */
export function because(error: unknown): string {
  const { code = '', name, errors } = error as NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] }
  const reason = code || errors?.[0]?.code || ''
  if (name === 'TimeoutError' || name === 'AbortError' || reason === 'ABORT_ERR')
    return `does not answer within ${ASK_LIMIT / 1000} seconds`
  if (reason === 'ECONNREFUSED') return 'does not answer: nothing listens there'
  if (reason === 'ENOTFOUND' || reason === 'EAI_AGAIN') return 'is no name that can be found'
  if (reason === 'ECONNRESET' || reason === 'EPIPE') return 'breaks off the connection'
  if (/CERT|SIGNATURE|ALTNAME|ISSUER/.test(reason)) return `has a certificate that is not trusted (${reason})`
  return `cannot be asked (${reason || name})`
}
