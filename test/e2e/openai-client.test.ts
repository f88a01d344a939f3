import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import OpenAI, { AuthenticationError, BadRequestError, RateLimitError, toFile } from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, sha256 } from '../support/images.ts'

interface Image {
  id: string
  url: string
  mime_type: string
}

/** What the model's server saw of an image that a request named. */
interface Seen {
  readonly head: { status: number; type: string | null; length: string | null }
  readonly get: { status: number; type: string | null; sha256: string }
}

let app: TestApp
let model: Server
let seen: Seen[]
beforeAll(async () => {
  seen = []
  app = await startApp()
  model = createServer(async (request, response) => {
    const { messages } = (await json(request)) as OpenAI.ChatCompletionCreateParams
    for (const url of imageUrls(messages)) seen.push(await look(url))
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(completion))
  })
  model.listen(0, '127.0.0.1')
  await once(model, 'listening')
})
afterAll(async () => {
  model.close()
  await app[Symbol.asyncDispose]()
})

/** Asks for it as models' fetchers do: whether it is an image and how large, and then for its bytes. */
async function look(url: string): Promise<Seen> {
  const head = await fetch(url, { method: 'HEAD' })
  const get = await fetch(url)
  const bytes = new Uint8Array(await get.arrayBuffer())
  return {
    head: {
      status: head.status,
      type: head.headers.get('content-type'),
      length: head.headers.get('content-length'),
    },
    get: { status: get.status, type: get.headers.get('content-type'), sha256: sha256(bytes) },
  }
}

function imageUrls(messages: OpenAI.ChatCompletionMessageParam[]): string[] {
  return messages.flatMap(({ role, content }) =>
    role === 'user' && Array.isArray(content)
      ? content.flatMap((part) => (part.type === 'image_url' ? [part.image_url.url] : []))
      : [],
  )
}

const completion = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'stub',
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'A photo.' } }],
}

/** OpenAI's client, with Layover as its server. It retries by itself, which would hide a refusal. */
const layover = (key = apiKey, url = app.url) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 })

async function upload(client: OpenAI, file: string, fields: Record<string, string> = {}): Promise<Image> {
  const body = new FormData()
  for (const [name, value] of Object.entries(fields)) body.append(name, value)
  body.append('file', await toFile(fixture(file), file))
  return client.post('/files/uploads', { body })
}

describe('OpenAI’s own client', () => {
  test.each(photos)(
    'uploads a $format and shows it to a model, whose server fetches its bytes and type',
    async ({ file, mediaType }) => {
      const image = await upload(layover(), file, { expires_in: '600' })
      expect(image.mime_type).toBe(mediaType)

      const port = (model.address() as AddressInfo).port
      const chat = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: 'any' }).chat
      const { choices } = await chat.completions.create({
        model: 'stub',
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What is this?' },
              { type: 'image_url', image_url: { url: image.url } },
            ],
          },
        ],
      })
      expect(choices[0]?.message.content).toBe('A photo.')
      const bytes = fixture(file)
      expect(seen.splice(0)).toEqual([
        {
          head: { status: 200, type: mediaType, length: String(bytes.length) },
          get: { status: 200, type: mediaType, sha256: sha256(bytes) },
        },
      ])
    },
  )

  test('sends base64, lists and deletes what it uploaded', async () => {
    const client = layover()
    const data = fixture('photo.png').toString('base64')
    const image: Image = await client.post('/files/uploads/base64', { body: { data, expires_in: 600 } })
    const list: { data: Image[] } = await client.get('/files/uploads')
    expect(list.data.map(({ id }) => id)).toContain(image.id)
    expect(await client.delete(`/files/uploads/${image.id}`)).toEqual({ id: image.id, deleted: true })
    expect((await look(image.url)).get.status).toBe(404)
  })

  test('throws an AuthenticationError for a wrong key', async () => {
    const error = await upload(layover('wrong'), 'photo.png').catch((error) => error)
    expect(error).toBeInstanceOf(AuthenticationError)
    expect(error).toMatchObject({
      status: 401,
      code: 'key_wrong',
      type: 'authentication_error',
      message: expect.stringMatching(/^401 This key is not known here\./),
    })
  })

  test('throws a BadRequestError for a wish that cannot be met', async () => {
    const error = await upload(layover(), 'photo.png', { expires_in: 'soon' }).catch((error) => error)
    expect(error).toBeInstanceOf(BadRequestError)
    expect(error).toMatchObject({
      status: 400,
      code: 'expires_in_invalid',
      type: 'invalid_request_error',
      message: expect.stringMatching(/^400 expires_in must be a whole number of seconds/),
    })
  })

  test('throws a RateLimitError that says when to come again', async () => {
    await using limited = await startApp({ env: { RATE_LIMIT: '1/1m' } })
    const client = layover(apiKey, limited.url)
    await upload(client, 'photo.png')
    const error = await upload(client, 'photo.png').catch((error) => error)
    expect(error).toBeInstanceOf(RateLimitError)
    expect(error).toMatchObject({
      status: 429,
      code: 'rate_limited',
      type: 'rate_limit_error',
      message: expect.stringMatching(/^429 Too many requests/),
    })
    expect(Number(error.headers.get('retry-after'))).toBeGreaterThan(0)
  })
})
