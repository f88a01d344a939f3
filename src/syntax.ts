import type { FastifyRequest } from 'fastify'
import { problem } from './errors.ts'

/** A name or address with or without a port, or nothing (RFC 9110, section 7.2; RFC 3986, section 3.2.2). */
const HOST = /^([\w.~!$&'()*+,;=%-]*|\[[\w.:%]+\])(:\d*)?$/

/**
 * An `onRequest` hook that refuses what Node's parser takes, though its sender, or a proxy before us, may have meant something else
 * (RFC 9112, sections 3.2 and 6.1): another version, another number of hosts than one, a host that is none, a body that is to be decoded, or
 * one in chunks from HTTP/1.0, which has none.
 */
export async function refuseDoubtful({ raw }: FastifyRequest): Promise<void> {
  const { httpVersion: version, headers } = raw
  const { host: hosts = version === '1.0' ? [''] : [] } = raw.headersDistinct
  if ((version !== '1.0' && version !== '1.1') || hosts.length !== 1 || !HOST.test(hosts.join()))
    throw problem('request_malformed')
  const encoding = headers['transfer-encoding']
  if (encoding === undefined) return
  if (encoding.trim().toLowerCase() !== 'chunked' || version === '1.0')
    throw problem('transfer_encoding_refused')
}
