import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Problem, problem } from './errors.ts'

/** A name or address with or without a port, or nothing (RFC 9110, section 7.2; RFC 3986, section 3.2.2). */
const HOST = /^([\w.~!$&'()*+,;=%-]*|\[[\w.:%]+\])(:\d*)?$/

/**
 * An `onRequest` hook that refuses what Node's parser takes, though its sender, or a proxy before us, may have meant something else
 * (RFC 9112, sections 3.2 and 6.1): another version, another number of hosts than one, a host that is none, a body that is to be decoded, or
 * one in chunks from HTTP/1.0, which has none. And what is addressed to no path.
 */
export function refuseDoubtful({ raw }: FastifyRequest, _reply: FastifyReply, done: Done): void {
  done(doubtIn(raw))
}

type Done = (error?: Problem) => void

function doubtIn({
  httpVersion: version,
  url,
  headers,
  rawHeaders,
}: FastifyRequest['raw']): Problem | undefined {
  const { host = '', 'transfer-encoding': encoding } = headers
  const hosts = hostsIn(rawHeaders)
  const isHosted = hosts === 1 || (hosts === 0 && version === '1.0')
  if ((version !== '1.0' && version !== '1.1') || !isHosted || !HOST.test(host))
    return problem('request_malformed')
  // The whole server (RFC 9112, section 3.2.4), which has nothing to say; the router would take it for `/`.
  if (url === '*') return problem('not_found')
  const isInChunks = encoding?.trim().toLowerCase() === 'chunked' && version === '1.1'
  return encoding === undefined || isInChunks ? undefined : problem('transfer_encoding_refused')
}

/** How many there are: of several, Node keeps the first. */
function hostsIn(rawHeaders: readonly string[]): number {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ''
    if (name.length === 4 && name.toLowerCase() === 'host') count += 1
  }
  return count
}
