import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, photos, pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { exchange, openSocket, parseResponse, requestHead } from '../support/socket.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { MAX_FILE_SIZE: '1MB' } })
})
afterAll(() => app[Symbol.asyncDispose]())

const PATH = '/v1/files/uploads/base64'
const encoded = tinyPng.toString('base64')

function head(length: number, headers: Record<string, string> = {}): string {
  return requestHead(`POST ${PATH}`, {
    Authorization: authorization,
    'Content-Type': 'application/json',
    'Content-Length': length,
    ...headers,
  })
}

async function send(text: string | Buffer, headers: Record<string, string> = {}) {
  const body = Buffer.from(text)
  const { status, body: answer } = await exchange(app.port, head(body.length, headers), body)
  return { status, answer: JSON.parse(String(answer)) }
}

const post = (value: unknown) => send(JSON.stringify(value))

async function bytesAt(url: string): Promise<Buffer> {
  return Buffer.from(await (await fetch(app.url + new URL(url).pathname)).arrayBuffer())
}

describe('an image in base64', () => {
  test.each(photos)('that is a $format photograph is stored byte for byte', async ({ file, mediaType }) => {
    const bytes = fixture(file)
    for (const data of [bytes.toString('base64'), `data:${mediaType};base64,${bytes.toString('base64')}`]) {
      const { status, answer } = await post({ data })
      expect({ status, type: answer.mime_type, size: answer.size }).toEqual({
        status: 200,
        type: mediaType,
        size: bytes.length,
      })
      expect(sha256(await bytesAt(answer.url))).toBe(sha256(bytes))
    }
  })

  test('is what its bytes are, whatever type is declared', async () => {
    for (const prefix of ['data:image/jpeg;base64,', 'DATA:;Base64,', 'data:text/html;charset=utf-8;base64,'])
      expect(await post({ data: prefix + encoded })).toMatchObject({
        status: 200,
        answer: { mime_type: 'image/png' },
      })
  })

  test('may stand anywhere among other members, of any kind', async () => {
    const others = {
      purpose: 'vision',
      filename: 'a.png',
      list: [1, { data: 'no' }],
      nothing: null,
      yes: true,
    }
    for (const value of [
      { ...others, data: encoded },
      { data: encoded, ...others },
    ])
      expect((await post(value)).status).toBe(200)
  })

  test('lives as long as expires_in says, as a number or as text, before the image or after it', async () => {
    for (const value of [
      { expires_in: 600, data: encoded },
      { data: encoded, expires_in: '600' },
    ]) {
      const { answer } = await post(value)
      const left = (Date.parse(answer.expires_at) - Date.now()) / 1000
      expect(left).toBeGreaterThan(590)
      expect(left).toBeLessThanOrEqual(600)
    }
    expect(await post({ data: encoded, expires_in: -5 })).toMatchObject({ status: 400 })
    expect(await app.files()).not.toContain(expect.stringMatching(/part$/))
  })

  test('may be written with the escapes that JSON allows', async () => {
    const escaped = encoded.replaceAll('/', '\\/').replaceAll('A', '\\u0041')
    const { answer } = await send(`{"d\\u0061ta":"${escaped}"}`)
    expect((await bytesAt(answer.url)).equals(tinyPng)).toBe(true)
  })

  test('of exactly MAX_FILE_SIZE passes, and one byte more does not', async () => {
    expect((await post({ data: pngOfSize(1024 ** 2).toString('base64') })).status).toBe(200)
    expect(await post({ data: pngOfSize(1024 ** 2 + 1).toString('base64') })).toMatchObject({
      status: 413,
      answer: { error: { code: 'file_too_large' } },
    })
  })
})

test('a body that comes byte by byte is taken', async () => {
  const bytes = Buffer.from(JSON.stringify({ filename: 'x', data: pngOfSize(30_000).toString('base64') }))
  const pieces = Array.from(bytes, (byte) => `1\r\n${String.fromCharCode(byte)}\r\n`)
  const chunked = {
    Authorization: authorization,
    'Content-Type': 'application/json',
    'Transfer-Encoding': 'chunked',
  }
  const answer = await exchange(app.port, requestHead(`POST ${PATH}`, chunked), `${pieces.join('')}0\r\n\r\n`)
  expect({ status: answer.status, size: JSON.parse(String(answer.body)).size }).toEqual({
    status: 200,
    size: 30_000,
  })
})

test('an image of the largest size may have its slashes escaped', async () => {
  const data = pngOfSize(1024 ** 2 - 1)
    .fill('\xff', 1000)
    .toString('base64')
  expect(
    (
      await send(
        `{"data":"${data.slice(0, 2000)}${data.slice(2000, 40_000).replaceAll('/', '\\/')}${data.slice(40_000)}"}`,
      )
    ).status,
  ).toBe(200)
})

describe('what is not base64 is refused', () => {
  test.each([
    ['a missing pad', encoded.slice(0, -1)],
    ['one pad too many', `${encoded}=`],
    ['a line break', `${encoded.slice(0, 40)}\n${encoded.slice(40)}`],
    ['a space at its end', `${encoded} `],
    ['characters of the other alphabet', encoded.replace(/[A-Z]/, '-')],
    ['pads in the middle', `${encoded.slice(0, 40)}==${encoded.slice(42)}`],
    ['bits that no byte takes', `${encoded.slice(0, -3)}B==`],
    ['text', 'hello, world'],
    ['a data URL without base64', `data:image/png,${encoded}`],
    ['a data URL that does not end', `data:${'x'.repeat(1000)}`],
    [
      'a data URL with more than an image needs before it',
      `data:image/png;x=${'x'.repeat(300)};base64,${encoded}`,
    ],
    ['an address', 'https://example.com/photo.png'],
  ])('%s', async (_what, data) => {
    expect(await post({ data })).toMatchObject({ status: 400, answer: { error: { code: 'base64_invalid' } } })
  })

  test('an empty text is an empty file', async () => {
    expect(await post({ data: '' })).toMatchObject({ status: 400, answer: { error: { code: 'file_empty' } } })
  })

  test('base64 of what is no image', async () => {
    const data = Buffer.from('<html></html>'.repeat(100)).toString('base64')
    expect(await post({ data })).toMatchObject({
      status: 415,
      answer: { error: { code: 'format_unsupported' } },
    })
  })
})

describe('a body that is not as it should be is refused', () => {
  test.each([
    ['nothing', ''],
    ['no JSON', 'data=abc'],
    ['a list', `["${encoded}"]`],
    ['a text', `"${encoded}"`],
    ['an object that does not end', `{"data":"${encoded}"`],
    ['two objects', `{"data":"${encoded}"}{}`],
    ['the image twice', `{"data":"${encoded}","data":"${encoded}"}`],
    [
      'what is not UTF-8',
      Buffer.concat([Buffer.from('{"x":"'), Buffer.of(0xff), Buffer.from(`","data":"${encoded}"}`)]),
    ],
    ['a hundred lists within each other', `{"data":"${encoded}","x":${'['.repeat(100)}${']'.repeat(100)}}`],
  ])('%s', async (_what, text) => {
    expect(await send(text)).toMatchObject({ status: 400, answer: { error: { code: 'json_malformed' } } })
  })

  test.each([[{}], [{ data: null }], [{ data: 5 }], [{ data: { base64: encoded } }], [{ image: encoded }]])(
    '%j has no image',
    async (value) => {
      expect(await post(value)).toMatchObject({ status: 400, answer: { error: { code: 'data_missing' } } })
    },
  )

  test('another type', async () => {
    const { status, answer } = await send('{}', { 'Content-Type': 'text/plain' })
    expect({ status, code: answer.error.code }).toEqual({ status: 415, code: 'json_expected' })
  })

  test('one that is too long, by its header before it is sent', async () => {
    const answer = await exchange(app.port, head(2_000_000, { Expect: '100-continue' }))
    expect(answer.status).toBe(413)
  })

  test('one that is too long, though the image is not', async () => {
    const filler = 'x'.repeat(1_600_000)
    const chunks = Buffer.from(`{"x":"${filler}","data":"${encoded}"}`)
    const answer = await exchange(
      app.port,
      requestHead(`POST ${PATH}`, {
        Authorization: authorization,
        'Content-Type': 'application/json',
        'Transfer-Encoding': 'chunked',
      }),
      Buffer.concat([Buffer.from(`${chunks.length.toString(16)}\r\n`), chunks, Buffer.from('\r\n0\r\n\r\n')]),
    )
    expect(answer.status).toBe(413)
  })

  test('one with more beside the image than there is any use for', async () => {
    for (const more of [`"x":"${'y'.repeat(100_000)}"`, `"x":[${'0,'.repeat(50_000)}0]`])
      expect(await send(`{${more},"data":"${encoded}"}`)).toMatchObject({
        status: 413,
        answer: { error: { code: 'body_too_large' } },
      })
  })

  test.each([true, [60], { seconds: 60 }, '60s', ''])('an expires_in of %j', async (expires_in) => {
    expect(await post({ data: encoded, expires_in })).toMatchObject({
      status: 400,
      answer: { error: { code: 'expires_in_invalid' } },
    })
    expect((await post({ data: encoded, expires_in: null })).status).toBe(200)
  })

  test('one that stalls', async () => {
    await using hasty = await startApp({ env: { IDLE_TIMEOUT: '1s' } })
    const answer = await exchange(hasty.port, head(500), `{"data":"${encoded.slice(0, 40)}`)
    expect(answer.status).toBe(408)
  })

  test('one that breaks off stores nothing', async () => {
    const before = (await app.files()).length
    const socket = await openSocket(app.port)
    socket.write(head(500))
    socket.write(`{"data":"${encoded}"`)
    socket.end()
    await new Promise((resolve) => socket.once('close', resolve).resume())
    expect(await app.files()).toHaveLength(before)
  })
})

test('however a body is cut into pieces, the image is the same', async () => {
  const body = Buffer.from(`{"filename":"ü😀.png","data":"data:image/png;base64,${encoded}","expires_in":60}`)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(body.length), { maxLength: 6 }), async (cuts) => {
      const socket = await openSocket(app.port)
      socket.setNoDelay(true)
      socket.write(head(body.length))
      const edges = [0, ...cuts.sort((a, b) => a - b), body.length]
      for (const [i, edge] of edges.entries()) {
        socket.write(body.subarray(edges[i - 1] ?? 0, edge))
        await new Promise(setImmediate)
      }
      const pieces: Buffer[] = []
      for await (const piece of socket) pieces.push(piece)
      const answer = parseResponse(Buffer.concat(pieces))
      expect({ status: answer.status, size: JSON.parse(String(answer.body)).size }).toEqual({
        status: 200,
        size: tinyPng.length,
      })
    }),
    { numRuns: 60, seed: 4 },
  )
})
