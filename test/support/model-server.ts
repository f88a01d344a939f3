import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { get } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { sniff } from '../../src/formats.ts'
import { sha256 } from './images.ts'

/** What a model's server saw of an image. */
export interface SeenImage {
  readonly how: 'fetched' | 'decoded'
  readonly type: string
  readonly size: number
  readonly sha256: string
}

/** A request as it reached the model's server. */
export interface SeenCall {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** A model's server on a real socket: it fetches or decodes each image, and answers with what it saw, or as it is told to. */
export interface ModelServer extends AsyncDisposable {
  /** As VISION_UPSTREAM_URL. */
  readonly url: string
  readonly calls: SeenCall[]
  /** Connections that are open, and those that have been. */
  readonly open: number
  readonly seen: number
  /** Takes the place of its answer, once the request is there. */
  answer: ((response: ServerResponse, call: SeenCall) => unknown) | undefined
  /** Takes the place of everything, before the body is read. */
  take: ((request: IncomingMessage, response: ServerResponse) => unknown) | undefined
}

/** `ca`: the certificate that it trusts when it fetches by https. */
export async function startModelServer({ ca }: { ca?: string } = {}): Promise<ModelServer> {
  const sockets = new Set<Socket>()
  let seen = 0
  const calls: SeenCall[] = []
  const server = createServer(async (request, response) => {
    // Clients that leave are part of the tests.
    request.on('error', () => {})
    response.on('error', () => {})
    if (model.take) return model.take(request, response)
    const pieces: Buffer[] = []
    try {
      for await (const piece of request) pieces.push(piece as Buffer)
    } catch {
      return
    }
    const { method = '', url = '', headers } = request
    const call = { method, url, headers, body: Buffer.concat(pieces).toString() }
    calls.push(call)
    if (model.answer) return model.answer(response, call)
    await answerWithImages(call, response, ca)
  })
  server.on('connection', (socket: Socket) => {
    seen += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const model: ModelServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    calls,
    get open() {
      return sockets.size
    },
    get seen() {
      return seen
    },
    answer: undefined,
    take: undefined,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return model
}

async function answerWithImages(
  { url, body }: SeenCall,
  response: ServerResponse,
  ca?: string,
): Promise<void> {
  const path = url.split('?')[0]
  const json = (value: object, status = 200) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  if (path === '/v1/models')
    return void json({ object: 'list', data: [{ id: 'stub', object: 'model', created: 1 }] })
  try {
    const request = JSON.parse(body)
    const text = JSON.stringify(await Promise.all(imagesIn(request).map((image) => look(image, ca))))
    const shape = ANSWERS[path ?? '']
    if (shape === undefined) return void json({ error: { message: 'no such path' } }, 404)
    if (!request.stream) return void json(shape.whole(text))
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    for (const event of shape.events(text)) {
      response.write(event)
      await sleep(5)
    }
    response.end()
  } catch (error) {
    json({ error: { message: `Unable to process the image you provided: ${error}` } }, 400)
  }
}

/** The strings and sources in a request that are images, wherever they are. Not with the code that is tested. */
function imagesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  const { image_url: image, type, source, ...rest } = value as Record<string, unknown>
  const found = typeof image === 'object' && image !== null ? (image as { url?: string }).url : image
  const within = Object.values({ source, ...rest }).flatMap(imagesIn)
  if (typeof found === 'string') return [found, ...within]
  if (type !== 'image' || typeof source !== 'object' || source === null) return within
  const { url, data, media_type: mediaType } = source as Record<string, string>
  return [url ?? `data:${mediaType};base64,${data}`]
}

async function look(image: string, ca?: string): Promise<SeenImage> {
  if (image.startsWith('data:')) {
    const [, type = '', data = ''] = /^data:([^;]+);base64,(.*)$/s.exec(image) ?? []
    const bytes = Buffer.from(data, 'base64')
    if (bytes.toString('base64') !== data || sniff(bytes) === undefined)
      throw new Error('not base64 of an image')
    return { how: 'decoded', type, size: bytes.length, sha256: sha256(bytes) }
  }
  if (image.startsWith('https:')) return lookSecurely(image, ca)
  const response = await fetch(image)
  const bytes = new Uint8Array(await response.arrayBuffer())
  if (response.status !== 200) throw new Error(`${image} answers ${response.status}`)
  const type = response.headers.get('content-type') ?? ''
  return { how: 'fetched', type, size: bytes.length, sha256: sha256(bytes) }
}

async function lookSecurely(image: string, ca?: string): Promise<SeenImage> {
  const [response] = (await once(get(image, { ca }), 'response')) as [IncomingMessage]
  const bytes = await buffer(response)
  const type = response.headers['content-type'] ?? ''
  return { how: 'fetched', type, size: bytes.length, sha256: sha256(bytes) }
}

const event = (data: object, name?: string) =>
  `${name ? `event: ${name}\n` : ''}data: ${JSON.stringify(data)}\n\n`
/** As tokens come: a few characters at a time. */
const tokens = (text: string) => text.match(/.{1,24}/gs) ?? []

const base = { id: 'stub-1', created: 1, model: 'stub' }
const ANSWERS: Record<string, { whole(text: string): object; events(text: string): string[] }> = {
  '/v1/chat/completions': {
    whole: (text) => ({
      ...base,
      object: 'chat.completion',
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: text } }],
    }),
    events: (text) => [
      ...tokens(text).map((content) =>
        event({ ...base, object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content } }] }),
      ),
      'data: [DONE]\n\n',
    ],
  },
  '/v1/responses': {
    whole: (text) => ({
      ...{ id: 'resp_1', object: 'response', created_at: 1, model: 'stub', status: 'completed' },
      output: [{ type: 'message', role: 'assistant', id: 'm', content: [{ type: 'output_text', text }] }],
    }),
    events: (text) =>
      tokens(text).map((delta) =>
        event({ type: 'response.output_text.delta', delta }, 'response.output_text.delta'),
      ),
  },
  '/v1/messages': {
    whole: (text) => ({
      ...{ id: 'msg_1', type: 'message', role: 'assistant', model: 'stub', stop_reason: 'end_turn' },
      content: [{ type: 'text', text }],
    }),
    events: (text) =>
      tokens(text).map((part) =>
        event(
          { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: part } },
          'content_block_delta',
        ),
      ),
  },
}
