import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { type Problem, problem } from '../errors.ts'

/** Bytes that a body may have besides the image: boundaries, part headers, fields, members. */
export const OVERHEAD = 64 * 1024

/** An upload as `stage` takes it, whichever way it came. */
export interface Incoming {
  /** The image's bytes. Ends only when the whole message has arrived and is in order; else fails with a `Problem`. */
  readonly body: AsyncIterable<Buffer>
  /** What came with them, wherever it stood in the message: complete when `body` has ended. */
  readonly fields: ReadonlyMap<string, string>
}

/** What no parser of a body sees: silence, and the size of the whole. */
export interface Watch {
  /** Aborted with the `Problem` when the client stalls or sends too much. */
  readonly signal: AbortSignal
  /** The rest of whatever is waited for, unless the body breaks before: then rejects with the `Problem`. */
  unlessBroken<T>(next: Promise<T>): Promise<T>
  /** To be called once the body is being read: a listener before that would take its first bytes away. */
  begin(): void
}

/** Watches a request's body, of which at most `maxBody` bytes may come. */
export function watchBody(raw: IncomingMessage, maxBody: number): Watch {
  const broken = new AbortController()
  let [hasBegun, received] = [false, 0]
  return {
    signal: broken.signal,
    // Not `Promise.race` with one promise for all, which would remember each call as long as the body lasts.
    unlessBroken: (next) =>
      new Promise((resolve, reject) => {
        const stop = () => reject(broken.signal.reason)
        if (broken.signal.aborted) return stop()
        broken.signal.addEventListener('abort', stop, { once: true })
        next.then(resolve, reject).finally(() => broken.signal.removeEventListener('abort', stop))
      }),
    begin() {
      if (hasBegun) return
      hasBegun = true
      raw.on('data', (chunk: Buffer) => {
        received += chunk.length
        if (received > maxBody) broken.abort(problem('body_too_large'))
      })
      raw.once('timeout', () => broken.abort(problem('upload_stalled')))
    },
  }
}

/** What it means that reading a body failed, if that is the connection's doing: that it stalled, was too long, or broke off. */
export function bodyFailure(raw: IncomingMessage, { signal }: Watch): Problem | undefined {
  if (signal.aborted) return signal.reason
  return raw.destroyed && !raw.complete ? problem('upload_incomplete') : undefined
}

/** Whether a request says that its body is JSON. */
export function isJson({ headers }: FastifyRequest): boolean {
  return /^application\/json *(;|$)/i.test(headers['content-type'] ?? '')
}
