import { Agent } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.ts'
import { halfSent, pathOf, startPair, through, uploadThrough } from '../support/behind-proxy.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { startServer } from '../support/server.ts'
import { installedProxies, shipped } from '../support/shipped-proxy.ts'
import { eventually, parseResponse } from '../support/socket.ts'
import { tempFolder } from '../support/temp-folder.ts'

/** What the files of `deploy/` are trusted with: who a client is, what nobody may read in a log, and connections that end in order. */

const KEEPS = {
  nginx: { file: 'nginx.conf', line: 'keepalive_timeout 60s;', short: 'keepalive_timeout 4s;' },
  caddy: { file: 'Caddyfile', line: 'keepalive 60s', short: 'keepalive 4s' },
} as const

describe.each(installedProxies())('behind %s', (kind) => {
  test('limits count by the client’s own address, whatever it says it is', async () => {
    await using pair = await startPair(kind, { env: { RATE_LIMIT: '3/1h' } })
    const ask = async (from: string, said = {}) => {
      const headers = { authorization: 'Bearer not-a-key-that-is-known', ...said }
      return (await through(pair.proxy, '/v1/files/uploads', { from, headers })).status
    }
    for (let turn = 0; turn < 3; turn += 1) expect(await ask('127.0.0.5')).toBe(401)
    expect(await ask('127.0.0.5')).toBe(429)
    const claims = (address: string) => ({
      'x-forwarded-for': address,
      forwarded: `for=${address}`,
      'x-real-ip': address,
    })
    expect(await ask('127.0.0.5', claims('203.0.113.7'))).toBe(429)
    expect(await ask('127.0.0.5', claims('203.0.113.7, 127.0.0.1'))).toBe(429)
    // Nor does somebody else get what that one has earned.
    expect(await ask('127.0.0.6', claims('127.0.0.5'))).toBe(401)
  })

  test('no log has a name, a token or a query, also of what fails', async () => {
    await using pair = await startPair(kind)
    const { proxy } = pair
    const uploaded = await uploadThrough(proxy, tinyPng)
    const path = pathOf(uploaded)
    const link = new URL(String(uploaded.headers['x-layover-delete-url']))
    const order = JSON.stringify({ content_type: 'image/png', size: tinyPng.length })
    const json = { 'content-type': 'application/json' }
    const ordered = await through(proxy, '/v1/files/uploads/presign', {
      method: 'POST',
      headers: json,
      body: order,
    })
    const ticket = new URL(JSON.parse(String(ordered.body)).upload_url)
    const [stem = ''] = path.split('/').at(-1)?.split('.') ?? []
    const encoded = stem.replaceAll('n', '%6e')
    const asked = [
      path,
      `${path}?query-canary`,
      `/v1/files/uploads/file_${stem}`,
      `/a/${stem}/b/${stem.replace(/^.{9}/, 'zzzzzzzzz')}`,
      path.replace(stem, encoded),
      path.replace(stem, encoded.replaceAll('%', '%25')),
      path.replace(stem, stem.toUpperCase()),
      `/healthz?x=${stem}`,
      ticket.pathname + ticket.search,
      link.pathname + link.search,
    ]
    const referer = `https://localhost/${stem}?query-canary`
    const askAll = () =>
      Promise.all(
        asked.map((path) => through(proxy, path, { headers: { referer, 'if-none-match': `"${stem}.png"` } })),
      )
    await askAll()
    await pair.server.stop('SIGTERM')
    expect((await askAll()).map(({ status }) => status)).toEqual(asked.map(() => 502))

    const secrets = [
      stem,
      stem.toUpperCase(),
      stem.slice(-20),
      encoded.slice(-20),
      'query-canary',
      link.searchParams.get('token') ?? '',
      ticket.searchParams.get('ticket') ?? '',
      ticket.pathname.split('/').at(-1)?.slice(20, 48) ?? '',
    ]
    await eventually(async () => (await proxy.log()).split('/incoming/...').length >= 3)
    const log = await proxy.log()
    expect(log).toContain(`${stem.slice(0, 19)}...`)
    expect(log).toContain('/delete/...')
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(8)
      expect(log.includes(secret), secret).toBe(false)
    }
  })

  test('it ends idle connections to the server before the server does', async () => {
    await using app = await startApp()
    const seconds = Number(/\d+/.exec(KEEPS[kind].line))
    expect(await shipped(KEEPS[kind].file)).toContain(KEEPS[kind].line)
    expect(1000 * seconds).toBeLessThan(app.server.keepAliveTimeout)
  })

  // 4 seconds in place of 60, and the server’s 7.2 in place of 72: a machine that stops for a second does not make it the first.
  test('500 uploads with pauses, on connections that are kept, are all taken', {
    timeout: 120_000,
  }, async () => {
    const { line, short } = KEEPS[kind]
    await using pair = await startPair(kind, { env: { IDLE_TIMEOUT: '3s' }, change: { [line]: short } })
    const refused: number[] = []
    await Promise.all(
      Array.from({ length: 50 }, async (_, client) => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1 })
        for (let turn = 0; turn < 10; turn += 1) {
          const { status } = await uploadThrough(pair.proxy, tinyPng, { agent })
          if (status !== 200) refused.push(status)
          await sleep((turn * 600 + client * 140) % 7000)
        }
        agent.destroy()
      }),
    )
    expect(refused).toEqual([])
    expect(pair.endings.server).toBe(0)
    expect(pair.endings.proxy).toBeGreaterThan(0)
  })

  test('a server that stops loses no upload, and is found again when it is back', async () => {
    await using folder = await tempFolder()
    await using pair = await startPair(kind, { dataDir: folder.path, env: { STOP_TIMEOUT: '10s' } })
    const images = [1, 2, 3, 4].map((n) => Buffer.concat([pngOfSize(600_000), Buffer.from(String(n))]))
    const halves = await Promise.all(images.map((image) => halfSent(pair.proxy, image)))
    await eventually(async () => (await pair.server.files()).length === images.length)
    const stopped = pair.server.stop('SIGTERM')
    await eventually(() => pair.server.output().includes('"msg":"stopping"'))
    const answers = await Promise.all(halves.map(async ({ finish }) => parseResponse(await finish())))
    expect(answers.map(({ status }) => status)).toEqual(images.map(() => 200))
    expect(await stopped).toEqual({ code: 0, signal: null })

    await using _again = await startServer({ dataDir: folder.path, env: pair.env })
    for (const [i, { body }] of answers.entries()) {
      const back = await through(pair.proxy, new URL(JSON.parse(String(body)).data).pathname)
      expect(sha256(back.body)).toBe(sha256(images[i] ?? Buffer.alloc(0)))
    }
  })
})
