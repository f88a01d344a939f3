import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pngOfSize } from '../support/images.ts'
import { type ModelServer, startModelServer } from '../support/model-server.ts'
import { descriptorsOf, memoryOf, resetPeak } from '../support/process-facts.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

const CALLS = 32
const SIZE = 20 * 1024 ** 2
const MOST_MB = 400

const image = pngOfSize(SIZE)
const inline = `data:image/png;base64,${image.toString('base64')}`
const bodyWith = (url: string) =>
  Buffer.from(JSON.stringify({ messages: [{ content: [{ image_url: { url } }] }] }))
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

let model: ModelServer
beforeAll(async () => {
  model = await startModelServer()
})
afterAll(async () => await model[Symbol.asyncDispose]())

/** Reads no body before all calls are there, and answers with each one's digest. */
function holdUntilAllAreThere(): void {
  const all = Promise.withResolvers<void>()
  let there = 0
  model.take = async (request, response) => {
    there += 1
    if (there === CALLS) all.resolve()
    await all.promise
    const hash = createHash('sha256')
    for await (const piece of request) hash.update(piece)
    response.end(JSON.stringify({ digest: hash.digest('hex') }))
  }
}

async function call(server: ServerProcess, body: Buffer): Promise<unknown> {
  const headers = {
    ...{ authorization: `Bearer ${server.key()}`, 'content-type': 'application/json' },
    'content-length': body.length,
  }
  const sent = httpRequest(`${server.url}/v1/chat/completions`, { method: 'POST', headers, agent: false })
  sent.end(body)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  return { status: answer.statusCode, ...((await json(answer)) as object) }
}

/** The most memory that the server has while all calls are under way, in MB. */
async function peakOf(server: ServerProcess, body: Buffer, expected: Buffer | undefined): Promise<number> {
  holdUntilAllAreThere()
  await resetPeak(server.pid)
  const answers = await Promise.all(Array.from({ length: CALLS }, () => call(server, body)))
  const digests = expected && { digest: digest(expected) }
  for (const answer of answers) expect(answer).toMatchObject({ status: 200, ...digests })
  return memoryOf(server.pid, 'VmHWM')
}

describe(`${CALLS} calls at once, each with an image of 20 MB`, () => {
  test.each([
    ['inline', 'stored here'],
    ['inline', 'in the request'],
    ['url', 'in the request'],
  ] as const)(
    'with VISION_IMAGES=%s and the image %s, take less than 400 MB',
    async (policy, where) => {
      await using server = await startServer({
        env: {
          VISION_UPSTREAM_URL: model.url,
          VISION_UPSTREAM_KEY: 'x',
          VISION_IMAGES: policy,
          MIN_FREE_SPACE: '0',
        },
      })
      const form = new FormData()
      form.append('file', new Blob([new Uint8Array(image)]), 'x.png')
      const headers = { authorization: `Bearer ${server.key()}` }
      const uploaded = await fetch(`${server.url}/v1/files/uploads`, { method: 'POST', headers, body: form })
      const { url } = (await uploaded.json()) as { url: string }

      const descriptors = await descriptorsOf(server.pid)
      const expected = policy === 'inline' ? bodyWith(inline) : undefined
      const peak = await peakOf(server, bodyWith(where === 'stored here' ? url : inline), expected)
      console.log(`VISION_IMAGES=${policy}, image ${where}: ${peak} MB at the peak`)
      expect(peak).toBeLessThan(MOST_MB)
      // Those to the model's server may wait to be used again for some seconds.
      await expect
        .poll(() => descriptorsOf(server.pid), { timeout: 15_000 })
        .toBeLessThanOrEqual(descriptors + 2)
      const files = await server.files()
      expect(files.filter((name) => name.endsWith('.part'))).toEqual([])
      if (policy === 'url') expect(files).toHaveLength(CALLS + 1)
    },
    180_000,
  )
})
