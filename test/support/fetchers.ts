import { once } from 'node:events'
import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { connect } from 'node:tls'
import { gunzipSync } from 'node:zlib'
import { isAllowed } from '../../src/doctor/robots.ts'
import type { Ask, Fetcher } from '../../src/vision/fetchers.ts'
import { openSocket, parseResponse, type RawResponse } from './socket.ts'

/** Known fetchers, played on bare sockets: they send what `src/vision/fetchers.ts` says, and take no more than they would. */

/** The first bytes that one asks for who wants to know width and height. */
const HEAD_BYTES = 1024

export interface Wanted {
  readonly port: number
  readonly path: string
  readonly bytes: Buffer
  readonly mediaType: string
  /** The certificate of whoever speaks TLS there, in PEM; unset if nobody does. */
  readonly cert?: string
}

/** Fetches an image as this fetcher would. Answers with why it goes without, or undefined if it got it. */
export async function play(fetcher: Fetcher, wanted: Wanted): Promise<string | undefined> {
  for (const ask of fetcher.asks) {
    const answer = await answerTo(ask, fetcher, wanted)
    const fault = typeof answer === 'string' ? answer : faultOf(answer, { ask, fetcher, wanted })
    if (fault !== undefined) return `${ask}: ${fault}`
  }
  return undefined
}

async function answerTo(
  ask: Ask,
  fetcher: Fetcher,
  { port, path, cert }: Wanted,
): Promise<RawResponse | string> {
  const socket = cert === undefined ? await openSocket(port) : await openSecurely(port, cert)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    socket.destroy()
  }, fetcher.patience * 1000)
  socket.write(requestOf(ask, fetcher, ask === 'robots' ? '/robots.txt' : path))
  const bytes = await buffer(socket).catch(() => Buffer.of())
  clearTimeout(timer)
  if (isLate) return `took longer than ${fetcher.patience} seconds`
  return bytes.length === 0 ? 'no answer' : parseResponse(bytes)
}

async function openSecurely(port: number, ca: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, ca, servername: 'localhost' })
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

function requestOf(ask: Ask, { agent, headers, version }: Fetcher, path: string): string {
  const all = {
    // HTTP/1.0 has no such header, and closes by itself.
    ...(version === '1.1' && { Host: 'images.example.com', Connection: 'close' }),
    ...(agent !== undefined && { 'User-Agent': agent }),
    ...headers,
    ...(ask === 'head' && { Range: `bytes=0-${HEAD_BYTES - 1}` }),
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${ask === 'HEAD' ? 'HEAD' : 'GET'} ${path} HTTP/${version}\r\n${lines.join('')}\r\n`
}

interface Asked {
  readonly ask: Ask
  readonly fetcher: Fetcher
  readonly wanted: Wanted
}

function faultOf(answer: RawResponse, { ask, fetcher, wanted }: Asked): string | undefined {
  const { status, headers, body } = answer
  if (ask === 'robots') return robotsFault(answer, fetcher, wanted.path)
  if (status >= 300 && status < 400) return fetcher.follows ? undefined : `is redirected (${status})`
  if (status !== (ask === 'head' ? 206 : 200)) return `status ${status}`
  const type = headers['content-type'] ?? 'none'
  if (fetcher.needs.includes('content-type') && type !== wanted.mediaType) return `Content-Type ${type}`
  const coding = headers['content-encoding']
  if (coding !== undefined && !fetcher.headers['Accept-Encoding']?.includes(coding))
    return `Content-Encoding ${coding}`
  const expected = ask === 'head' ? wanted.bytes.subarray(0, HEAD_BYTES) : wanted.bytes
  if (fetcher.needs.includes('content-length') && headers['content-length'] !== String(expected.length))
    return `Content-Length ${headers['content-length'] ?? 'none'}`
  // Of HEAD, any byte after the headers would be taken for the next answer.
  if (ask === 'HEAD') return body.length === 0 ? undefined : 'has a body'
  const whole =
    headers['transfer-encoding'] === 'chunked' && fetcher.version === '1.1' ? unchunked(body) : body
  return (coding === 'gzip' ? gunzipSync(whole) : whole).equals(expected) ? undefined : 'other bytes'
}

function robotsFault(
  { status, body }: RawResponse,
  { robots = '*' }: Fetcher,
  path: string,
): string | undefined {
  if (status >= 500) return `status ${status}, which counts as a ban`
  // One that is missing lets everybody in.
  if (status >= 400) return undefined
  if (status !== 200) return `status ${status}`
  return isAllowed(body.toString(), { agent: robots, path }) ? undefined : `shuts out ${robots}`
}

function unchunked(body: Buffer): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < body.length; ) {
    const end = body.indexOf('\r\n', at)
    const size = Number.parseInt(body.toString('latin1', at, end), 16)
    if (end < 0 || !(size > 0)) break
    pieces.push(body.subarray(end + 2, end + 2 + size))
    at = end + 2 + size + 2
  }
  return Buffer.concat(pieces)
}
