import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import OpenAI, { APIError, BadRequestError, toFile } from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { selfSigned } from '../support/certificate.ts'
import { fixture, pathOfFixture, sha256 } from '../support/images.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'
import { pythonWithOpenai } from '../support/python.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

const run = promisify(execFile)
const photo = fixture('photo.jpg')

let remote: Server
let remoteUrl: string
let model: ModelServer
beforeAll(async () => {
  const { key, cert } = selfSigned('localhost')
  remote = createServer({ key, cert }, (_request, response) =>
    response.setHeader('content-type', 'image/jpeg').end(photo),
  )
  await once(remote.listen(0, '127.0.0.1'), 'listening')
  remoteUrl = `https://localhost:${(remote.address() as AddressInfo).port}/photo.jpg`
  model = await startModelServer({ ca: cert })
})
afterAll(async () => {
  remote.closeAllConnections()
  remote.close()
  await model[Symbol.asyncDispose]()
})

const facts = { type: 'image/jpeg', size: photo.length, sha256: sha256(photo) }
const decoded = [{ how: 'decoded', ...facts }]
const fetched = [{ how: 'fetched', ...facts }]
/** What the model saw of an image that was uploaded, that came as data, and that is elsewhere. */
const POLICIES = [
  ['inline', [decoded, decoded, fetched]],
  ['url', [fetched, fetched, fetched]],
] as const

describe.each(POLICIES)('with VISION_IMAGES=%s', (policy, [ofUpload, ofData, ofRemote]) => {
  let server: ServerProcess
  beforeAll(async () => {
    const env = { VISION_UPSTREAM_URL: model.url, VISION_UPSTREAM_KEY: 'sk-upstream', VISION_IMAGES: policy }
    server = await startServer({ env })
  })
  afterAll(async () => await server[Symbol.asyncDispose]())

  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: server.key(), maxRetries: 0 })

  /** What the model says of an image, asked at once and as a stream. */
  async function answers(url: string): Promise<unknown[]> {
    const content = [
      { type: 'text', text: 'What is this?' },
      { type: 'image_url', image_url: { url } },
    ] as const
    const request = { model: 'stub', messages: [{ role: 'user' as const, content: [...content] }] }
    const whole = await client().chat.completions.create(request)
    let streamed = ''
    for await (const { choices } of await client().chat.completions.create({ ...request, stream: true }))
      streamed += choices[0]?.delta.content ?? ''
    return [whole.choices[0]?.message.content ?? '', streamed].map((text) => JSON.parse(text))
  }

  test('OpenAI’s client for JavaScript shows what it uploaded, what it has, and what is elsewhere', async () => {
    const body = new FormData()
    body.append('file', await toFile(photo, 'photo.jpg'))
    const { url } = (await client().post('/files/uploads', { body })) as { url: string }
    expect(await answers(url)).toEqual([ofUpload, ofUpload])
    expect(await answers(`data:image/jpeg;base64,${photo.toString('base64')}`)).toEqual([ofData, ofData])
    expect(await answers(remoteUrl)).toEqual([ofRemote, ofRemote])

    const input = [
      {
        role: 'user' as const,
        content: [{ type: 'input_image' as const, detail: 'low' as const, image_url: url }],
      },
    ]
    const { output } = await client().responses.create({ model: 'stub', input })
    expect(JSON.parse((output[0] as { content: { text: string }[] }).content[0]?.text ?? '')).toEqual(
      ofUpload,
    )
    expect((await client().models.list()).data.map(({ id }) => id)).toEqual(['stub'])
  })

  test('OpenAI’s client for Python does the same, with nothing changed but base URL and key', async ({
    skip,
  }) => {
    const python = await pythonWithOpenai()
    if (python === undefined) skip('OpenAI’s client for Python is not installed')
    const { stdout } = await run(
      python ?? '',
      [
        `${import.meta.dirname}/../support/openai_flows.py`,
        server.url,
        pathOfFixture('photo.jpg'),
        remoteUrl,
      ],
      { env: { OPENAI_BASE_URL: `${server.url}/v1`, OPENAI_API_KEY: server.key(), NO_PROXY: '*' } },
    )
    const lines = stdout.trim().split('\n')
    expect(lines.pop()).toBe("['stub']")
    const expected = [ofUpload, ofUpload, ofData, ofData, ofRemote, ofRemote, ofUpload]
    expect(lines.map((line) => JSON.parse(line))).toEqual(expected)
  }, 180_000)

  test('the client throws what it throws of OpenAI’s own refusals', async () => {
    const gone = answers(`${server.url}/uploads/2026/01/x.png`)
    await expect(gone).rejects.toThrow(BadRequestError)
    await expect(gone).rejects.toMatchObject({
      status: 400,
      code: 'vision_image_unknown',
      type: 'invalid_request_error',
    })
    model.answer = (response) => response.writeHead(500).end('{"error":{"message":"theirs"}}')
    await expect(answers(remoteUrl)).rejects.toThrow(APIError)
    model.answer = undefined
  })
})
