import { once } from 'node:events'
import {
  type Agent,
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from 'node:http'
import { request as httpsRequest } from 'node:https'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { readAnswer } from '../../read-answer.ts'

/** Milliseconds without a byte in either direction after which there will be no answer. */
const SILENCE = 120_000
/** Milliseconds after which the body is sent, if nobody has said whether to: what `curl` waits. */
const PATIENCE = 1000
/**
 * Bytes that are sent in one go, head and all: whoever refuses by the head alone, and closes, would break off a second write, and with it the
 * reading of the answer. Of more, the server should be asked first.
 */
export const IN_ONE_GO = 256 * 1024

export interface Exchange {
  readonly url: URL
  readonly agent: Agent
  readonly headers: OutgoingHttpHeaders
  /** Begun only when the server wants it, if `headers` ask whether it does. */
  readonly body: () => AsyncGenerator<Buffer>
  readonly signal: AbortSignal
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

/**
 * Sends a body, and reads the answer, which may come before the body has been sent, and then counts. Follows no redirect. Rejects with what
 * broke the connection, or with what the body throws.
 */
export async function exchange({ url, agent, headers, body, signal }: Exchange): Promise<Answer> {
  const begin = url.protocol === 'https:' ? httpsRequest : httpRequest
  const asked = begin(url, { method: 'POST', headers, agent, signal })
  const answered = Promise.withResolvers<IncomingMessage>()
  const over = new AbortController()
  // The first stays, as the connection may also break after the answer.
  asked.on('error', answered.reject).once('response', answered.resolve)
  for (const event of ['response', 'close']) asked.once(event, () => over.abort())
  asked.setTimeout(SILENCE, () =>
    asked.destroy(Object.assign(new Error('no answer came'), { code: 'ETIMEDOUT' })),
  )
  // Not waited for: a body that is not wanted any more may be a pipe to which nobody writes.
  feed(asked, body, over.signal).catch((error) => asked.destroy(error))
  try {
    const answer = await answered.promise
    return { status: answer.statusCode ?? 0, headers: answer.headers, text: String(await readAnswer(answer)) }
  } finally {
    // Its connection cannot be used again.
    if (!asked.writableFinished) asked.destroy()
  }
}

/** Sends a body at the other side's pace, until it has been sent or is not wanted any more. */
async function feed(asked: ClientRequest, body: Exchange['body'], over: AbortSignal): Promise<void> {
  if (asked.hasHeader('expect')) {
    asked.flushHeaders()
    await Promise.race([
      once(asked, 'continue', { signal: over }),
      sleep(PATIENCE, undefined, { signal: over }),
    ]).catch(() => {})
  }
  if (over.aborted) return
  if (Number(asked.getHeader('content-length')) <= IN_ONE_GO) {
    const chunks = await Array.fromAsync(body())
    asked.end(Buffer.concat(chunks))
    return
  }
  for await (const chunk of body()) {
    // Time for an answer that is there to be read: a write after the other side has closed would break it off.
    await setImmediate()
    if (over.aborted) return
    if (!asked.write(chunk)) await once(asked, 'drain', { signal: over }).catch(() => {})
  }
  if (!over.aborted) asked.end()
}
