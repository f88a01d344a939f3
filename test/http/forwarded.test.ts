import { afterEach, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { exchange, requestHead, uploadHead } from '../support/socket.ts'

let app: TestApp
afterEach(() => app[Symbol.asyncDispose]())

/** All by which a request can say that it was meant for somebody else, or came from somebody else. */
const claims = (address: string) => ({
  Host: 'evil.example',
  Forwarded: `for=${address};host=evil.example;proto=https`,
  'X-Forwarded-Host': 'evil.example',
  'X-Forwarded-Proto': 'https',
  'X-Forwarded-Port': '444',
  'X-Forwarded-Prefix': '/evil',
  'X-Forwarded-Server': 'evil.example',
  'X-Original-URL': 'https://evil.example/evil',
  'X-Rewrite-URL': '/evil',
  'X-HTTP-Method-Override': 'DELETE',
})

/** The same, for the address that limits count by, without the one header that a trusted proxy may set. */
const otherClaims = (address: string) => ({
  ...claims(address),
  'X-Real-IP': address,
  'X-Client-IP': address,
  'X-Cluster-Client-IP': address,
  'CF-Connecting-IP': address,
  'True-Client-IP': address,
})

describe.each<[string, Record<string, string>]>([
  ['from anybody', {}],
  ['from a trusted proxy', { TRUST_PROXY: 'loopback' }],
  [
    'from a trusted proxy, with PUBLIC_URL',
    { TRUST_PROXY: 'loopback', PUBLIC_URL: 'https://images.example.com' },
  ],
])('a claim %s', (_title, env) => {
  test('changes no URL that the server gives out', async () => {
    app = await startApp({ env })
    const base = env.PUBLIC_URL ?? `http://localhost:${app.port}`
    const form = uploadOf(tinyPng)
    const headers = { ...claims('192.0.2.1'), 'X-Forwarded-For': '192.0.2.1' }
    const head = uploadHead(form, authorization, headers)
    const byGateway = await exchange(app.port, head, form.body)
    const byFiles = await exchange(app.port, head.replace('/api/upload', '/v1/files/uploads'), form.body)
    const document = await exchange(app.port, requestHead('GET /openapi.json', headers))
    const page = await exchange(app.port, requestHead('GET /docs/', headers))

    const file = JSON.parse(String(byFiles.body))
    const links = [
      JSON.parse(String(byGateway.body)).data,
      byGateway.headers['x-layover-delete-url'],
      file.url,
      file.delete_url,
      ...JSON.parse(String(document.body)).servers.map(({ url }: { url: string }) => `${url}/`),
    ]
    for (const link of links) expect(link).toMatch(new RegExp(`^${RegExp.escape(base)}/`))
    for (const { status, headers, body } of [byGateway, byFiles, document, page]) {
      expect(status).toBe(200)
      expect(JSON.stringify(headers) + body).not.toContain('evil')
    }
  })
})

/** A request with a wrong key, of which an address has one a minute. */
const guess = async (headers: Record<string, string>) =>
  (
    await exchange(
      app.port,
      requestHead('GET /v1/files/uploads', { Authorization: 'Bearer guess', ...headers }),
    )
  ).status

describe('who a request comes from', () => {
  test.each([{}, { TRUST_PROXY: '192.0.2.99' }, { TRUST_PROXY: '10.0.0.0/8,uniquelocal' }])(
    'is not for others to say than the trusted proxy (%j)',
    async (env) => {
      app = await startApp({ env: { RATE_LIMIT: '1/1m', ...env } })
      const from = (address: string) => guess({ ...otherClaims(address), 'X-Forwarded-For': address })
      expect([await from('192.0.2.1'), await from('192.0.2.2')]).toEqual([401, 429])
    },
  )

  test('is said by a trusted proxy in X-Forwarded-For alone, and there by the last that is not trusted itself', async () => {
    app = await startApp({ env: { RATE_LIMIT: '1/1m', TRUST_PROXY: 'loopback' } })
    const from = (chain: string, address = '203.0.113.1') =>
      guess({ ...otherClaims(address), 'X-Forwarded-For': chain })
    expect([await from('192.0.2.1'), await from('192.0.2.1', '203.0.113.2')]).toEqual([401, 429])
    // What stands before it came from the client.
    expect(await from('198.51.100.7, 192.0.2.1')).toBe(429)
    expect(await from('198.51.100.7, 192.0.2.1, 127.0.0.1')).toBe(429)
    expect(await from('198.51.100.7')).toBe(401)
  })

  test('may be nonsense, which breaks nothing', async () => {
    app = await startApp({ env: { RATE_LIMIT: '1/1m', TRUST_PROXY: 'loopback' } })
    for (const chain of [
      '',
      ',',
      'unknown',
      '999.1.1.1',
      '"[2001:db8::1]:80"',
      '::1%eth0',
      'x'.repeat(5000),
      ',,,1.2.3.4,,',
    ])
      expect([401, 429]).toContain(await guess({ 'X-Forwarded-For': chain }))
    expect((await exchange(app.port, requestHead('GET /healthz'))).status).toBe(200)
  })
})
