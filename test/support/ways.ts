import { type Agent, type IncomingHttpHeaders, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { apiKey, authorization } from './app.ts'
import { uploadOf } from './multipart.ts'

/** Variables that let the tests' own key in, at every start. */
export const OWN_KEY = { API_KEYS: `tester:${apiKey}` }

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface Call {
  readonly method?: string
  readonly headers?: Record<string, string | number>
  readonly body?: Buffer | string
  /** None is a connection of its own. */
  readonly agent?: Agent
}

/** One request with Node's own client, which opens no more connections than it is told to. Rejects if the connection breaks. */
export function call(url: string, { method = 'GET', headers = {}, body, agent }: Call = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const own = { authorization, ...length, ...headers }
    const sent = request(url, { method, headers: own, agent: agent ?? false }, (response) => {
      const { statusCode = 0, headers } = response
      buffer(response).then((body) => resolve({ status: statusCode, headers, body }), reject)
    })
    sent.on('error', reject).end(body)
  })
}

export interface Outcome {
  readonly status: number
  /** The image's path, if the answer was 200. */
  readonly path?: string | undefined
  readonly code?: string
}

type Upload = (url: string, image: Buffer, agent?: Agent) => Promise<Outcome>

/** Each way in, for a PNG; all take the tests' own key. */
export const WAYS: Readonly<Record<'form' | 'base64' | 'link', Upload>> = {
  async form(url, image, agent) {
    const { body, contentType } = uploadOf(image)
    const headers = { 'content-type': contentType }
    const answer = await call(`${url}/api/upload`, { method: 'POST', headers, body, ...(agent && { agent }) })
    return outcomeOf(answer, ({ data }) => data)
  },

  async base64(url, image, agent) {
    const answer = await postJson(`${url}/v1/files/uploads/base64`, { data: image.toString('base64') }, agent)
    return outcomeOf(answer, (image) => image.url)
  },

  async link(url, image, agent) {
    const order = { filename: 'x.png', content_type: 'image/png', size: image.length }
    const ordered = await postJson(`${url}/v1/files/uploads/presign`, order, agent)
    if (ordered.status !== 200) return outcomeOf(ordered, () => undefined)
    const link = JSON.parse(String(ordered.body))
    const headers = { 'content-type': 'image/png' }
    const { pathname, search } = new URL(link.upload_url)
    const put = { method: 'PUT', headers, body: image, ...(agent && { agent }) }
    const sent = await call(`${url}${pathname}${search}`, put)
    return sent.status === 200
      ? { status: 200, path: new URL(link.url).pathname }
      : outcomeOf(sent, () => undefined)
  },
}

function postJson(url: string, value: object, agent: Agent | undefined): Promise<Answer> {
  const headers = { 'content-type': 'application/json' }
  return call(url, { method: 'POST', headers, body: JSON.stringify(value), ...(agent && { agent }) })
}

function outcomeOf(
  { status, body }: Answer,
  urlIn: (answer: Record<string, string>) => string | undefined,
): Outcome {
  const answer = JSON.parse(String(body))
  const url = status === 200 ? urlIn(answer) : undefined
  return { status, path: url && new URL(url).pathname, code: answer.error?.code }
}
