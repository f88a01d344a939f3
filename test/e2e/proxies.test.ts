import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey } from '../support/app.ts'
import { halfSent, type Pair, pathOf, startPair, through, uploadThrough } from '../support/behind-proxy.ts'
import { fixture, pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { installedProxies } from '../support/shipped-proxy.ts'
import { eventually, parseResponse } from '../support/socket.ts'
import { call } from '../support/ways.ts'

/** Behind the files of `deploy/`, a client gets what it would get without a proxy. */

const MAX = 20 * 1024 ** 2
const cli = join(import.meta.dirname, '../../src/cli.ts')

describe.each(installedProxies())('behind %s', (kind) => {
  let pair: Pair
  beforeAll(async () => {
    pair = await startPair(kind)
  })
  afterAll(() => pair[Symbol.asyncDispose]())

  test.each([
    { how: 'at once', headers: {} },
    { how: 'when told to', headers: { expect: '100-continue' } },
  ])('an image of 20 MB that is sent $how passes byte for byte', async ({ headers }) => {
    const image = pngOfSize(MAX)
    const answer = await uploadThrough(pair.proxy, image, { headers })
    expect({ status: answer.status, text: answer.status === 200 || String(answer.body) }).toMatchObject({
      status: 200,
    })
    const back = await through(pair.proxy, pathOf(answer))
    expect({ status: back.status, hash: sha256(back.body) }).toEqual({ status: 200, hash: sha256(image) })
  })

  test('an image of 20 MB passes as base64, which is longer', async () => {
    const body = JSON.stringify({ data: pngOfSize(MAX).toString('base64') })
    const headers = { 'content-type': 'application/json' }
    const answer = await through(pair.proxy, '/v1/files/uploads/base64', { method: 'POST', headers, body })
    expect(answer.status).toBe(200)
    expect(JSON.parse(String(answer.body)).size).toBe(MAX)
  })

  test.each([
    { size: MAX + 1, headers: {} },
    { size: 2 * MAX, headers: { expect: '100-continue' } },
  ])('an image of $size bytes is refused in the server’s own words', async ({ size, headers: asks }) => {
    const { status, headers, body } = await uploadThrough(pair.proxy, pngOfSize(size), { headers: asks })
    expect({ status, type: headers['content-type'] }).toEqual({
      status: 413,
      type: 'application/json; charset=utf-8',
    })
    expect(JSON.parse(String(body))).toMatchObject({ success: false, data: null })
    expect(headers).toHaveProperty('x-request-id')
  })

  test('whatever is asked of an image is answered as without a proxy', async () => {
    const path = pathOf(await uploadThrough(pair.proxy, fixture('photo.jpg')))
    const gone = pathOf(await uploadThrough(pair.proxy, tinyPng, { headers: { 'x-layover-expires-in': 1 } }))
    await eventually(async () => (await call(pair.direct + gone)).status === 410)
    const etag = { 'if-none-match': `"${path.split('/').at(-1)}"` }
    const asked = [
      { path, status: 200 },
      { path, status: 200, headers: { 'accept-encoding': 'gzip, br', accept: 'image/avif,text/html' } },
      { path, status: 200, method: 'HEAD' },
      { path, status: 206, headers: { range: 'bytes=1000-' } },
      { path, status: 206, headers: { range: 'bytes=-500' } },
      { path, status: 304, headers: etag },
      { path, status: 304, headers: etag, method: 'HEAD' },
      { path, status: 412, headers: { 'if-match': '"another"' } },
      { path, status: 416, headers: { range: 'bytes=99999999-' } },
      { path: gone, status: 410 },
      { path: gone, status: 410, method: 'HEAD' },
      { path: path.replace(/.{9}\.jpg$/, '000000000.jpg'), status: 404 },
      { path: '/robots.txt', status: 200 },
      { path: '/openapi.json', status: 200, headers: { 'accept-encoding': 'gzip, br' } },
    ]
    for (const { path, status, ...question } of asked) {
      const plain = await call(pair.direct + path, question)
      const proxied = await through(pair.proxy, path, question)
      expect({ question, ...seen(proxied) }).toEqual({ question, ...seen(plain) })
      expect({ question, path, status: proxied.status }).toEqual({ question, path, status })
    }
  })

  test('a body goes on as it comes, and is kept nowhere before the server', async () => {
    const image = pngOfSize(1_000_000)
    const before = (await pair.server.files()).length
    const { finish } = await halfSent(pair.proxy, image)
    await eventually(async () => (await pair.server.files()).length === before + 1)
    expect(await pair.proxy.kept()).toEqual([])
    const { status, body } = parseResponse(await finish())
    expect(status).toBe(200)
    const path = new URL(JSON.parse(String(body)).data).pathname
    expect(sha256((await through(pair.proxy, path)).body)).toBe(sha256(image))
  })

  test('a refusal arrives before the body has been sent', async () => {
    const { socket } = await halfSent(pair.proxy, pngOfSize(MAX), 'Bearer not-a-key-that-is-known')
    const { status, headers } = parseResponse(await buffer(socket))
    expect({ status, type: headers['content-type'] }).toEqual({
      status: 401,
      type: 'application/json; charset=utf-8',
    })
  })

  test('a refusal arrives at a client that asks before it sends', async () => {
    const headers = { authorization: 'Bearer not-a-key-that-is-known', expect: '100-continue' }
    const answer = await uploadThrough(pair.proxy, pngOfSize(MAX), { headers })
    expect(answer.status).toBe(401)
    // nginx says so by itself, as soon as it sees the header.
    if (kind !== 'nginx') expect(answer.wasToldToGoOn).toBe(false)
  })

  // Caddy reads on for half a second, which a busy client may need to send what it has begun with.
  if (kind === 'nginx')
    test('a refusal arrives at a client that does not stop sending', async () => {
      const headers = { authorization: 'Bearer not-a-key-that-is-known' }
      expect((await uploadThrough(pair.proxy, pngOfSize(MAX), { headers })).status).toBe(401)
    })

  test('a client that leaves in the middle leaves nothing', async () => {
    const before = (await pair.server.files()).length
    const { socket } = await halfSent(pair.proxy, pngOfSize(1_000_000))
    await eventually(async () => (await pair.server.files()).length === before + 1)
    socket.destroy()
    await eventually(async () => (await pair.server.files()).length === before)
    expect(await pair.proxy.kept()).toEqual([])
  })

  test('doctor finds nothing wrong, with a key and without', async () => {
    for (const key of [{}, { LAYOVER_KEY: apiKey }]) {
      const output = await doctor({ ...pair.env, ...key })
      expect(output.split('\n').filter((line) => !/^[✓–] /.test(line))).toEqual([''])
      expect(output).toMatch(key.LAYOVER_KEY ? /✓ uploads: of 20 MB pass/ : /✓ uploads: .*let through/)
    }
  }, 60_000)

  function doctor(env: Record<string, string>): Promise<string> {
    const { PATH } = process.env
    const all = { PATH, DATA_DIR: pair.server.dataDir, NODE_EXTRA_CA_CERTS: pair.proxy.certFile, ...env }
    return new Promise((resolve) =>
      execFile(process.execPath, [cli, 'doctor'], { env: all, cwd: tmpdir() }, (_error, ...texts) =>
        resolve(texts.join('')),
      ),
    )
  }
})

/** What must be the same: all but what is a connection's own, or another each time. */
function seen({
  status,
  headers,
  body,
}: Pick<Awaited<ReturnType<typeof call>>, 'status' | 'headers' | 'body'>) {
  const own = ['date', 'connection', 'keep-alive', 'server', 'alt-svc', 'via', 'x-request-id']
  const kept = Object.entries(headers).filter(([name]) => !own.includes(name))
  // It counts down.
  const same = kept.map(([name, value]) => [name, String(value).replace(/max-age=\d+/, 'max-age=…')])
  return { status, headers: Object.fromEntries(same), hash: sha256(body) }
}
