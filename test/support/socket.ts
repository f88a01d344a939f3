import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'

export interface RawResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** A bare connection, for requests that no client library would send. */
export async function openSocket(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  // A reset is an outcome that a test looks at through what arrived, not an exception.
  socket.on('error', () => {})
  return socket
}

/** Sends bytes and reads all that comes back until the server closes the connection. */
export async function exchange(port: number, ...pieces: (Buffer | string)[]): Promise<RawResponse> {
  const socket = await openSocket(port)
  for (const piece of pieces) socket.write(piece)
  return parseResponse(await buffer(socket))
}

/** The head of a request; `Connection: close` unless the headers say otherwise. */
export function requestHead(line: string, headers: Readonly<Record<string, string | number>> = {}): string {
  const all = { Host: 'localhost', Connection: 'close', ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${line} HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** The head of an upload of this form; `headers` add to it or say something else. */
export function uploadHead(
  form: { readonly body: Buffer; readonly contentType: string },
  authorization: string,
  headers: Readonly<Record<string, string | number>> = {},
): string {
  return requestHead('POST /api/upload', {
    Authorization: authorization,
    'Content-Type': form.contentType,
    'Content-Length': form.body.length,
    ...headers,
  })
}

/** Reads one response from bytes; a 100 Continue before it is passed over. */
export function parseResponse(bytes: Buffer): RawResponse {
  const end = bytes.indexOf('\r\n\r\n')
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const status = Number(statusLine.split(' ')[1])
  if (status === 100) return parseResponse(bytes.subarray(end + 4))
  const headers = Object.fromEntries(
    lines.map((line) => [
      line.slice(0, line.indexOf(':')).toLowerCase(),
      line.slice(line.indexOf(':') + 1).trim(),
    ]),
  )
  return { status, headers, body: bytes.subarray(end + 4) }
}

/** Reads all responses from the bytes of a connection. */
export function parseResponses(bytes: Buffer): RawResponse[] {
  const responses: RawResponse[] = []
  for (let rest = bytes; rest.length > 0; ) {
    const response = parseResponse(rest)
    const length = Number(response.headers['content-length'] ?? 0)
    responses.push({ ...response, body: response.body.subarray(0, length) })
    rest = response.body.subarray(length)
  }
  return responses
}

/** Sends bytes in one piece, and reads all answers until the server closes the connection. */
export async function answersTo(port: number, bytes: string | Buffer): Promise<RawResponse[]> {
  const socket = await openSocket(port)
  socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  return parseResponses(await buffer(socket))
}

/**
 * The status of what comes first in answer to a head with `Expect: 100-continue`: 100 if it is let
 * in. Then leaves, without a body.
 */
export async function firstAnswerTo(port: number, head: string): Promise<number> {
  const socket = await openSocket(port)
  socket.write(head)
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return Number(bytes.toString('latin1').split(' ')[1])
}

/** Waits until `check` is true: for what another process or a closed connection brings about. */
export async function eventually(check: () => boolean | Promise<boolean>, limit = 10_000): Promise<void> {
  const deadline = Date.now() + limit
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error('it did not come about in time')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
