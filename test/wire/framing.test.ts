import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { answersTo, exchange, requestHead } from '../support/socket.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { IDLE_TIMEOUT: '1s' } })
})
afterAll(() => app[Symbol.asyncDispose]())

const form = uploadOf(tinyPng)
const body = form.body.toString('latin1')
const length = form.body.length
const size = length.toString(16)
/** The form in one chunk, and the end. */
const chunked = `${size}\r\n${body}\r\n0\r\n\r\n`

/** A right upload but for what is given here. */
const upload = (headers: string, content: string, version = '1.1') =>
  `POST /api/upload HTTP/${version}\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n` +
  `Content-Type: ${form.contentType}\r\n${headers}\r\n${content}`

/** What would be stored if a server saw a request in what follows a body. */
const smuggled = upload(`Content-Length: ${length}\r\n`, body)

const inChunks = (content: string) => upload('Transfer-Encoding: chunked\r\n', content)
const encoded = (value: string) => upload(`Transfer-Encoding:${value}\r\n`, chunked)
const ofLength = (value: string) => upload(`Content-Length: ${value}\r\n`, body)
const withLine = (line: string) => upload(`${line}Content-Length: ${length}\r\n`, body)

const doubtful: readonly [string, string][] = [
  [
    'Content-Length and Transfer-Encoding',
    upload(`Content-Length: ${length}\r\nTransfer-Encoding: chunked\r\n`, chunked),
  ],
  [
    'Transfer-Encoding and Content-Length',
    upload(`Transfer-Encoding: chunked\r\nContent-Length: 4\r\n`, chunked),
  ],
  ['two lengths that differ', upload(`Content-Length: ${length}\r\nContent-Length: 4\r\n`, body)],
  [
    'two lengths that are the same',
    upload(`Content-Length: ${length}\r\nContent-Length: ${length}\r\n`, body),
  ],
  ['a list of lengths', ofLength(`${length}, ${length}`)],
  ['a length with a plus', ofLength(`+${length}`)],
  ['a length below zero', ofLength('-1')],
  ['a length in hexadecimal', ofLength(`0x${size}`)],
  ['a length with an exponent', ofLength('1e2')],
  ['a length with a space in it', ofLength(`1 ${length}`)],
  ['no digits for a length', ofLength('')],
  ['a length beyond 64 bits', ofLength('18446744073709551616')],
  ['an encoding that ends like chunked', encoded(' xchunked')],
  ['chunked, then another encoding', encoded(' chunked, identity')],
  ['another encoding, then chunked', encoded(' gzip, chunked')],
  ['identity, then chunked', encoded(' identity, chunked')],
  ['identity alone', encoded(' identity')],
  ['chunked twice in a line', encoded(' chunked, chunked')],
  [
    'chunked twice in two lines',
    upload('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', chunked),
  ],
  [
    'chunked and identity in two lines',
    upload('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', chunked),
  ],
  ['chunked in quotes', encoded(' "chunked"')],
  ['chunked with a parameter', encoded(' chunked;q=1')],
  ['chunked after a vertical tab', encoded(' \x0bchunked')],
  ['no encoding at all in its header', encoded('')],
  ['chunks in HTTP/1.0', upload('Transfer-Encoding: chunked\r\n', chunked, '1.0')],
  ['line feeds alone', smuggled.replaceAll('\r\n', '\n')],
  ['a line feed alone after a header', withLine('X-A: y\n')],
  ['a carriage return alone after a header', withLine('X-A: y\r')],
  ['a carriage return in a value', withLine('X-A: y\rz\r\n')],
  ['a folded header', withLine('X-A: y\r\n z\r\n')],
  ['a folded Transfer-Encoding', encoded('\r\n chunked')],
  ['a fold before the first header', smuggled.replace('Host', ' X-A: y\r\nHost')],
  ['a NUL in a value', withLine('X-A: y\0z\r\n')],
  ['a NUL in a name', withLine('X-A\0: y\r\n')],
  ['a space before the colon of a length', upload(`Content-Length : ${length}\r\n`, body)],
  [
    'a space before the colon of an encoding',
    upload('Transfer-Encoding : chunked\r\nContent-Length: 3\r\n', chunked),
  ],
  ['a header without a colon', withLine('X-A\r\n')],
  ['a header without a name', withLine(': y\r\n')],
  ['a chunk extension with a line feed', inChunks(`${size};a\nb\r\n${body}\r\n0\r\n\r\n`)],
  ['a chunk extension of 20 KB', inChunks(`${size};${'a'.repeat(20_000)}\r\n${body}\r\n0\r\n\r\n`)],
  ['chunk extensions of 20 KB in small chunks', inChunks(`1;${'a'.repeat(200)}\r\n-\r\n`.repeat(100))],
  ['a chunk longer than 64 bits can say', inChunks(`10000000000000000\r\n${body}\r\n0\r\n\r\n`)],
  ['a chunk of less than nothing', inChunks(`-1\r\n${body}\r\n0\r\n\r\n`)],
  ['a chunk size with 0x', inChunks(`0x${size}\r\n${body}\r\n0\r\n\r\n`)],
  ['a space before a chunk size', inChunks(` ${size}\r\n${body}\r\n0\r\n\r\n`)],
  ['a space after a chunk size', inChunks(`${size} \r\n${body}\r\n0\r\n\r\n`)],
  ['no chunk size', inChunks(`\r\n${body}\r\n0\r\n\r\n`)],
  ['a line feed alone after a chunk size', inChunks(`${size}\n${body}\r\n0\r\n\r\n`)],
  ['a line feed alone after a chunk', inChunks(`${size}\r\n${body}\n0\r\n\r\n`)],
  ['a chunk longer than its size', inChunks(`${size}\r\n${body}--\r\n0\r\n\r\n`)],
  ['line feeds alone after the last chunk', inChunks(`${size}\r\n${body}\r\n0\n\n`)],
  ['a length among the trailers', inChunks(`${size}\r\n${body}\r\n0\r\nContent-Length: 5\r\n\r\n`)],
  ['a trailer that is none', inChunks(`${size}\r\n${body}\r\n0\r\nX A 1\r\n\r\n`)],
]

/** Another connection works, and nothing has been stored. */
async function expectUntouched() {
  expect((await exchange(app.port, requestHead('GET /healthz'))).status).toBe(200)
  expect(await app.files()).toEqual([])
}

describe('a body whose end could be seen in two places is refused, and nothing in it or after it is carried out', () => {
  test.each(doubtful)('%s', async (_title, request) => {
    const begun = performance.now()
    const answers = await answersTo(app.port, request + smuggled)
    expect(answers.map(({ status }) => status)).toEqual([400])
    expect(answers[0]?.headers.connection).toBe('close')
    expect(JSON.parse(String(answers[0]?.body))).toMatchObject({ success: false, data: null })
    expect(performance.now() - begun).toBeLessThan(2000)
    await expectUntouched()
  })
})

test.concurrent.each([
  ['the last chunk is missing', inChunks(`${size}\r\n${body}\r\n`)],
  ['a chunk is as long as 64 bits can say', inChunks(`ffffffffffffffff\r\n${body}\r\n0\r\n\r\n`)],
  ['the length is more than comes', ofLength(`${length + 1}`)],
])('a body that never ends, as %s, is given up', async (_title, request) => {
  const answers = await answersTo(app.port, request)
  expect(answers.map(({ status }) => status)).toEqual([408])
  await expectUntouched()
})

describe('a body whose end is clear is taken, and its trailers say nothing', () => {
  const trailers = 'X-Layover-Expires-In: 5\r\nAuthorization: Bearer x\r\n'
  test.each([
    ['spaces around its length', ofLength(`  ${length}  `)],
    ['zeros before its length', ofLength(`000${length}`)],
    ['a header that only looks like a length', withLine('Content_Length: 3\r\n')],
    ['CHUNKED', encoded(' CHUNKED')],
    ['chunked after a tab', encoded('\tchunked')],
    ['a chunk extension', inChunks(`${size};a=b\r\n${body}\r\n0\r\n\r\n`)],
    ['trailers', inChunks(`${size}\r\n${body}\r\n0\r\n${trailers}\r\n`)],
    ['HTTP/1.0 and a length', upload(`Content-Length: ${length}\r\n`, body, '1.0')],
  ])('%s', async (_title, request) => {
    const closing = request.replace('Host:', 'Connection: close\r\nHost:')
    const [answer, ...more] = await answersTo(app.port, closing + smuggled)
    expect([answer?.status, more]).toEqual([200, []])
    const left = Date.parse(answer?.headers['x-layover-expires-at'] ?? '') - Date.now()
    expect(left).toBeGreaterThan(71 * 3600 * 1000)
    const files = await app.files()
    expect(files).toHaveLength(1)
    await app.store.delete(files[0] ?? '')
  })
})
