import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ERROR_CODES } from '../../src/errors.ts'
import { machineNetwork } from '../../src/intake/remote/network.ts'
import { type ApiDocument, checker } from '../support/api-document.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { pngHeader, pngOfSize, tinyPng } from '../support/images.ts'
import { multipartBody, uploadOf } from '../support/multipart.ts'
import { type Origin, startOrigin, testNetwork } from '../support/remote.ts'
import { exchange, requestHead } from '../support/socket.ts'

const UPLOAD = '/api/upload'
const FILES = '/v1/files/uploads'
const BASE64 = `${FILES}/base64`
const PRESIGN = `${FILES}/presign`
const BY_URL = `${FILES}/url`
const ONE = `${FILES}/{id}`
const COMPLETE = `${ONE}/complete`
const FETCHES = `${ONE}/fetches`
const KEY = { Authorization: authorization }

let app: TestApp
let origin: Origin
let document: ApiDocument
let check: ReturnType<typeof checker>
beforeAll(async () => {
  origin = await startOrigin((request, response) => {
    const path = request.url?.slice(1) ?? ''
    const [image, headers] = [images[path], elsewhere[path]]
    if (image) return response.end(image)
    if (path !== 'wait')
      response.writeHead(headers ? (path === 'away' ? 302 : 200) : 404, headers).end('text')
  })
  const network = testNetwork({ 'origin.test': ['127.0.0.1'] })
  app = await startApp({
    env: {
      ...{ MAX_FILE_SIZE: '100KB', QUOTA: '90KB', RATE_LIMIT: '10000/1m' },
      ...{ PUBLIC_URL: 'https://images.example.com', URL_FETCH_TIMEOUT: '1s' },
      URL_FETCH_ALLOW: 'origin.test',
      FIT_WORKERS: '0',
    },
    network: { ...network, dial: (to) => machineNetwork.dial({ ...to, port: origin.port }) },
  })
  document = (await (await fetch(`${app.url}/openapi.json`)).json()) as ApiDocument
  check = checker(document)
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
})

type Headers = Record<string, string | number>

interface Provoked {
  readonly code: string
  /** Operations, each with the path to ask. */
  readonly at: readonly (readonly [method: string, path: string, asked?: string])[]
  readonly headers?: Headers
  readonly body?: Buffer | string
}

const formOf = ({ body, contentType }: ReturnType<typeof uploadOf>) => ({
  headers: { ...KEY, 'Content-Type': contentType },
  body,
})
const jsonOf = (body: string) => ({ headers: { ...KEY, 'Content-Type': 'application/json' }, body })
const base64Of = (image: Buffer) => jsonOf(JSON.stringify({ data: image.toString('base64') }))

/** Without its length, so that only reading it tells how long it is. */
const chunked = ({ headers, body }: { headers: Headers; body: string }) => ({
  headers: { ...headers, 'Transfer-Encoding': 'chunked' },
  body: `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n\r\n`,
})

const forms = [
  ['POST', UPLOAD],
  ['POST', FILES],
] as const
const base64 = [['POST', BASE64]] as const
const others = [
  ['GET', FILES],
  ['GET', ONE, `${FILES}/x`],
  ['DELETE', ONE, `${FILES}/x`],
  ['GET', FETCHES, `${FILES}/x/fetches`],
  ['POST', COMPLETE, `${FILES}/x/complete`],
  ['GET', '/v1/files/usage'],
  ['GET', `${ONE}/compatibility`, `${FILES}/x/compatibility`],
  ['GET', `${ONE}/data-url`, `${FILES}/x/data-url`],
] as const
const presign = [['POST', PRESIGN]] as const
const orderOf = (size: number) => jsonOf(JSON.stringify({ content_type: 'image/png', size }))
const byUrl = [['POST', BY_URL]] as const
const all = [...forms, ...base64, ...byUrl, ...presign, ...others]
const field = (name: string, content: string) => ({ name, content })
const file = (content: Buffer) => ({ name: 'file', content, filename: 'x.png' })

/** What an image is refused for, by form and as base64. */
const images: Record<string, Buffer> = {
  file_empty: Buffer.alloc(0),
  format_unsupported: Buffer.from('just some text'),
  image_invalid: Buffer.from('GIF89a<script>alert(document.domain)</script>'),
  image_dimensions: pngHeader(0, 10),
  file_too_large: pngOfSize(101 * 1024),
  file_over_quota: pngOfSize(95 * 1024),
}

/** What else another server may answer, by its path. */
const elsewhere: Record<string, Record<string, string>> = {
  page: { 'content-type': 'text/html' },
  encoded: { 'content-encoding': 'gzip' },
  short: { 'content-length': '5', connection: 'close' },
  away: { location: 'ftp://origin.test/' },
}
const fetched = (path: string) => jsonOf(JSON.stringify({ url: `http://origin.test/${path}` }))
const fromUrls: Record<string, string> = {
  url_invalid: 'ftp://origin.test/',
  url_of_this_server: 'https://images.example.com/x',
  url_forbidden_address: 'http://127.0.0.1/',
  url_unresolvable: 'http://unknown.test/',
  url_unreachable: 'https://origin.test/',
  url_timeout: 'http://origin.test/wait',
  url_http_error: 'http://origin.test/nothing',
  url_redirect_refused: 'http://origin.test/away',
  url_answer_encoded: 'http://origin.test/encoded',
  url_answer_incomplete: 'http://origin.test/short',
  url_not_an_image: 'http://origin.test/page',
}

const provoked: readonly Provoked[] = [
  ...Object.entries(images).flatMap(([code, image]) => [
    { code, at: forms, ...formOf(uploadOf(image)) },
    { code, at: base64, ...base64Of(image) },
  ]),
  ...Object.keys(images)
    .filter((code) => code !== 'file_empty' && code !== 'format_unsupported')
    .map((code) => ({ code, at: byUrl, ...fetched(code) })),
  ...Object.entries(fromUrls).map(([code, url]) => ({ code, at: byUrl, ...jsonOf(JSON.stringify({ url })) })),
  { code: 'key_missing', at: all },
  { code: 'key_wrong', at: all, headers: { Authorization: 'Bearer wrong' } },
  { code: 'transfer_encoding_refused', at: all, headers: { ...KEY, 'Transfer-Encoding': 'gzip, chunked' } },
  { code: 'headers_too_large', at: all, headers: { ...KEY, 'X-Long': 'x'.repeat(20_000) } },
  { code: 'request_malformed', at: all.map(([method, path]) => [method, path, `${FILES}/%zz`] as const) },
  {
    code: 'expires_in_invalid',
    at: [...forms, ...base64, ...byUrl, ...presign].map(
      ([method, path]) => [method, path, `${path}?expires_in=soon`] as const,
    ),
    headers: KEY,
  },
  ...['fit=cinema', 'strip=pixels'].map((option) => ({
    code: `${option.split('=')[0]}_invalid`,
    at: [...forms, ...base64, ...byUrl, ...presign].map(
      ([method, path]) => [method, path, `${path}?${option}`] as const,
    ),
    headers: KEY,
  })),
  {
    code: 'fit_unavailable',
    at: [...forms, ...base64, ...byUrl, ...presign].map(
      ([method, path]) => [method, path, `${path}?fit=openai`] as const,
    ),
    headers: KEY,
  },
  {
    code: 'body_too_large',
    at: [...base64, ...byUrl, ...presign],
    ...chunked(jsonOf(`{"filename":"${'x'.repeat(400 * 1024)}"}`)),
  },
  { code: 'json_expected', at: [...base64, ...byUrl, ...presign], headers: KEY, body: '{}' },
  { code: 'json_malformed', at: [...base64, ...byUrl, ...presign], ...jsonOf('{"data":') },
  { code: 'member_invalid', at: presign, ...jsonOf('{}') },
  { code: 'file_too_large', at: presign, ...orderOf(101 * 1024) },
  { code: 'file_over_quota', at: presign, ...orderOf(95 * 1024) },
  { code: 'data_missing', at: base64, ...jsonOf('{}') },
  { code: 'base64_invalid', at: base64, ...jsonOf('{"data":"*"}') },
  { code: 'multipart_expected', at: forms, headers: KEY, body: 'x' },
  {
    code: 'multipart_malformed',
    at: forms,
    headers: { ...KEY, 'Content-Type': uploadOf(tinyPng).contentType },
    body: uploadOf(tinyPng).body.subarray(0, -12),
  },
  { code: 'file_missing', at: forms, ...formOf(multipartBody([field('file', 'text')])) },
  { code: 'too_many_files', at: forms, ...formOf(multipartBody([file(tinyPng), file(tinyPng)])) },
  {
    code: 'fields_refused',
    at: forms,
    ...formOf(multipartBody([...Array.from({ length: 17 }, () => field('a', 'b')), file(tinyPng)])),
  },
  { code: 'image_not_found', at: others.filter(([, path]) => path.includes('{id}')), headers: KEY },
  { code: 'cursor_invalid', at: [['GET', FILES, `${FILES}?limit=0`]], headers: KEY },
]

/** Those for which a single request does not do: time must pass, something must fail, or it takes a setting. */
const NOT_PROVOKED = [
  'url_fetch_off',
  'key_expired',
  'rate_limited',
  'quota_exceeded',
  'auth_unavailable',
  'usage_unavailable',
  'store_unavailable',
  'storage_full',
  'upload_incomplete',
  'upload_stalled',
  // In test/wire/pace.test.ts.
  'body_fragmented',
  // In test/wire/admission.test.ts.
  'server_busy',
  'internal',
  // In test/wire/fit.test.ts.
  'fit_impossible',
  'fit_failed',
  'fit_busy',
  // In test/wire/presign.test.ts.
  'presign_off',
  'links_exceeded',
  'image_expired',
  'upload_missing',
  'upload_mismatch',
  'upload_done',
]

// Together, as each refusal of a body takes its time to be read.
describe.concurrent('the document has the status and the shape of', () => {
  const cases = provoked.flatMap(({ at, ...rest }) =>
    at.map(([method, path, asked = path]) => ({ ...rest, method, path, asked })),
  )
  test.each(cases)(
    '$code at $method $path',
    async ({ code, method, path, asked, headers = {}, body = '' }) => {
      const length = 'Transfer-Encoding' in headers ? {} : { 'Content-Length': Buffer.byteLength(body) }
      const head = requestHead(`${method} ${asked}`, { ...length, ...headers })
      const answer = await exchange(app.port, head, body)
      const text = answer.body.toString()
      if (path !== UPLOAD) expect(JSON.parse(text).error.code).toBe(code)

      const { responses } = document.paths[path]?.[method.toLowerCase()] ?? {}
      expect(responses?.[answer.status]?.description).toContain(`\`${code}\``)
      // What never became a request is answered in both shapes at once.
      if (code === 'headers_too_large' || code === 'request_malformed') return
      const response = new Response(text, { status: answer.status, headers: answer.headers })
      expect(await check(method, path, response)).toEqual([])
    },
  )

  test('every code that the operations for uploaders name, but those that take time or a failure', () => {
    const paths = Object.entries(document.paths).filter(([path]) => /^\/(v1|api)\//.test(path))
    const named = JSON.stringify(
      paths.flatMap(([, item]) => Object.values(item).map(({ responses }) => responses)),
    )
    const tried = [...provoked.map(({ code }) => code), ...NOT_PROVOKED]
    expect(ERROR_CODES.filter((code) => named.includes(`\`${code}\``) && !tried.includes(code))).toEqual([])
  })
})
