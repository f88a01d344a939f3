import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, tinyPng } from '../support/images.ts'
import { eventually, exchange, openSocket, requestHead } from '../support/socket.ts'

const FILES = '/v1/files/uploads'
const BIG = Buffer.concat([fixture('photo.png'), Buffer.alloc(15 * 1024 ** 2)])

interface Fetched {
  readonly [fact: string]: unknown
}
interface Answer {
  readonly recorded: boolean
  readonly reason: string | null
  readonly total: number
  readonly fetches: Fetched[]
}

const ask = (app: TestApp, path: string, init: RequestInit = {}) =>
  fetch(app.url + path, { ...init, headers: { authorization, ...init.headers } })

/** A new image: its id and path. */
async function upload(app: TestApp, bytes = tinyPng, expiresIn = 3600) {
  const body = new FormData()
  body.append('file', new Blob([new Uint8Array(bytes)]), 'x.png')
  const answer = await ask(app, `${FILES}?expires_in=${expiresIn}`, { method: 'POST', body })
  const { id, url, delete_url } = (await answer.json()) as Record<string, string>
  const pathOf = (address = '') => address.slice(new URL(address).origin.length)
  return { id: id ?? '', path: pathOf(url), deletePath: pathOf(delete_url) }
}

async function fetchesOf(app: TestApp, id: string): Promise<Answer> {
  const answer = await ask(app, `${FILES}/${id}/fetches`)
  expect(answer.status).toBe(200)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  return (await answer.json()) as Answer
}

/** As soon as there are so many of them; a connection may tell its end a moment later. */
async function whenThereAre(app: TestApp, id: string, count: number): Promise<Fetched[]> {
  await eventually(async () => (await fetchesOf(app, id)).total >= count)
  const { total, fetches } = await fetchesOf(app, id)
  expect(total).toBe(count)
  return fetches
}

describe('receipts', () => {
  test('say who fetched an image, from which network, and what came of it', async () => {
    await using app = await startApp({ env: { TRUST_PROXY: 'loopback' } })
    const { id, path } = await upload(app)
    expect(await fetchesOf(app, id)).toMatchObject({
      id,
      recorded: true,
      reason: null,
      total: 0,
      fetches: [],
    })
    const from = (address: string, agent: string, more: Record<string, string> = {}) => ({
      headers: { 'x-forwarded-for': address, 'user-agent': agent, ...more },
    })
    const begun = Date.now()
    const requests: [RequestInit, object][] = [
      [from('203.0.113.77', 'OpenAI Image Downloader'), { fetcher: 'openai', network: '203.0.113.0/24' }],
      [
        { method: 'HEAD', ...from('2001:db8:1:2::3', 'RunwayML API/1.0') },
        { fetcher: 'runway', network: '2001:db8:1::/48', method: 'HEAD', bytes: 0 },
      ],
      [
        from('::ffff:198.51.100.9', 'curl/8', { range: 'bytes=0-9' }),
        { status: 206, bytes: 10, network: '198.51.100.0/24' },
      ],
      [from('nonsense', '', { 'if-none-match': '*' }), { status: 304, bytes: 0, network: 'unknown' }],
      [from('192.0.2.1', 'x', { range: 'bytes=67-' }), { status: 416, bytes: 0 }],
      [from('192.0.2.1', 'x', { 'if-match': '"x"' }), { status: 412, bytes: 0 }],
    ]
    for (const [init] of requests) await (await fetch(app.url + path, init)).arrayBuffer()
    const fetches = (await whenThereAre(app, id, requests.length)).reverse()
    const usual = { method: 'GET', fetcher: 'other', status: 200, bytes: tinyPng.length, complete: true }
    for (const [i, [, expected]] of requests.entries())
      expect(fetches[i]).toMatchObject({ ...usual, ...expected })
    for (const { at, ms } of fetches) {
      expect(Date.parse(String(at))).toBeGreaterThanOrEqual(begun)
      expect(ms).toBeGreaterThanOrEqual(0)
    }
  })

  test('have the network of the connection itself where no proxy is believed', async () => {
    await using app = await startApp()
    const { id, path } = await upload(app)
    await (await fetch(app.url + path, { headers: { 'x-forwarded-for': '203.0.113.77' } })).arrayBuffer()
    expect(await whenThereAre(app, id, 1)).toMatchObject([{ network: '127.0.0.0/24' }])
  })

  test('tell a client that left from one that got it all, also from memory', async () => {
    await using app = await startApp()
    const { id, path } = await upload(app, BIG)
    for (let round = 1; round <= 3; round += 1) {
      const socket = await openSocket(app.port)
      socket.write(requestHead(`GET ${path}`))
      await new Promise((resolve) => socket.once('data', resolve))
      socket.resetAndDestroy()
      const [left] = await whenThereAre(app, id, 2 * round - 1)
      expect(left).toMatchObject({ status: 200, complete: false })
      expect(left?.bytes).toBeLessThan(BIG.length)
      expect((await exchange(app.port, requestHead(`GET ${path}`))).body.length).toBe(BIG.length)
      const [stayed] = await whenThereAre(app, id, 2 * round)
      expect(stayed).toMatchObject({ complete: true, bytes: BIG.length })
    }
  })

  test('are for the key that uploaded, and for no other', async () => {
    const keys = 'tester:test-key-of-24-characters,other:other-key-of-25-characters'
    await using app = await startApp({ env: { API_KEYS: keys } })
    const { id } = await upload(app)
    const statusOf = async (key: string) =>
      (await ask(app, `${FILES}/${id}/fetches`, { headers: { authorization: `Bearer ${key}` } })).status
    expect(await statusOf('other-key-of-25-characters')).toBe(404)
    expect(await statusOf('nobody’s key'.replace('’', ''))).toBe(401)
    expect((await fetch(`${app.url}${FILES}/${id}/fetches`)).status).toBe(401)
  })

  test('go with the image, whichever way it is deleted, and never come back', async () => {
    await using app = await startApp()
    for (const way of ['key', 'link']) {
      const { id, path, deletePath } = await upload(app, BIG)
      // Somebody is still being sent it.
      const slow = await openSocket(app.port)
      slow.write(requestHead(`GET ${path}`))
      await new Promise((resolve) => slow.once('data', resolve))
      slow.pause()
      await (await fetch(app.url + path)).arrayBuffer()
      await whenThereAre(app, id, 1)
      const gone =
        way === 'key'
          ? ask(app, `${FILES}/${id}`, { method: 'DELETE' })
          : fetch(app.url + deletePath, { method: 'POST' })
      expect((await gone).status).toBe(200)
      expect((await ask(app, `${FILES}/${id}/fetches`)).status).toBe(404)
      slow.destroy()
      await new Promise((resolve) => setTimeout(resolve, 1300))
      expect(keptIn(app)).toEqual({ receipts: 0 })
    }
  })

  test('of an image that has expired are not shown, and of one that never was are not kept', async () => {
    let late = 0
    await using app = await startApp({ now: () => Date.now() + late })
    const { id, path } = await upload(app, tinyPng, 60)
    late = 61_000
    expect((await fetch(app.url + path)).status).toBe(410)
    expect((await ask(app, `${FILES}/${id}/fetches`)).status).toBe(410)
    late = 0
    // A name of the right form, as anybody can make one up.
    const other = path.replace(/(.{8})\.png$/, (_all, end) => `${[...end].reverse().join('')}.png`)
    expect((await fetch(app.url + other)).status).toBe(404)
    await fetchesOf(app, id)
    await new Promise((resolve) => setTimeout(resolve, 1300))
    expect(keptIn(app)).toEqual({ receipts: 0 })
  })

  test('are kept across a restart', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'layover-'))
    try {
      let image = { id: '', path: '' }
      {
        await using app = await startApp({ dataDir })
        image = await upload(app)
        await (await fetch(app.url + image.path)).arrayBuffer()
      }
      await using app = await startApp({ dataDir })
      await (await fetch(app.url + image.path)).arrayBuffer()
      expect(await whenThereAre(app, image.id, 2)).toHaveLength(2)
    } finally {
      await rm(dataDir, { recursive: true })
    }
  })

  test('that cannot be kept fail no fetch, are said once, and are kept when that is possible again', async () => {
    const lines: string[] = []
    await using app = await startApp({ onLog: (line) => lines.push(line) })
    const { id, path } = await upload(app)
    const holder = new DatabaseSync(join(app.config.dataDir, 'receipts.sqlite'))
    holder.exec('BEGIN IMMEDIATE')
    for (let i = 0; i < 3; i += 1) {
      expect((await fetch(app.url + path)).status).toBe(200)
      await fetchesOf(app, id)
    }
    const said = () => lines.filter((line) => line.includes('receipts of fetches cannot be kept'))
    await eventually(() => said().length > 0)
    expect((await ask(app, `${FILES}/${id}`, { method: 'HEAD' })).status).toBe(200)
    holder.close()
    expect(await whenThereAre(app, id, 3)).toHaveLength(3)
    expect(said()).toHaveLength(1)
    expect(lines.filter((line) => line.includes('are kept again'))).toHaveLength(1)
  })

  test('that cannot be opened are said to be missing, and images are served', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'layover-'))
    const lines: string[] = []
    try {
      // A folder in its place.
      await (await import('node:fs/promises')).mkdir(join(dataDir, 'receipts.sqlite'))
      await using app = await startApp({ dataDir, onLog: (line) => lines.push(line) })
      const { id, path } = await upload(app)
      expect((await fetch(app.url + path)).status).toBe(200)
      const { recorded, reason, fetches } = await fetchesOf(app, id)
      expect({ recorded, fetches }).toEqual({ recorded: false, fetches: [] })
      expect(reason).toContain('log')
      expect(lines.filter((line) => line.includes('receipts.sqlite and restart'))).toHaveLength(1)
    } finally {
      await rm(dataDir, { recursive: true })
    }
  })

  test('are not kept with RECEIPTS=off, and that is said', async () => {
    await using app = await startApp({ env: { RECEIPTS: 'off' } })
    const { id, path } = await upload(app)
    await (await fetch(app.url + path)).arrayBuffer()
    const { recorded, reason, total } = await fetchesOf(app, id)
    expect({ recorded, total }).toEqual({ recorded: false, total: 0 })
    expect(reason).toContain('RECEIPTS=off')
  })

  test('can be read often at once', async () => {
    await using app = await startApp()
    const { id, path } = await upload(app)
    const all = Array.from({ length: 200 }, async (_, i) => {
      if (i % 2) await (await fetch(app.url + path)).arrayBuffer()
      else await fetchesOf(app, id)
    })
    await Promise.all(all)
    const fetches = await whenThereAre(app, id, 100)
    expect(fetches).toHaveLength(100)
  })
})

/** What the file has of any image. */
function keptIn(app: TestApp): { receipts: number } {
  const db = new DatabaseSync(join(app.config.dataDir, 'receipts.sqlite'))
  const { receipts } =
    db.prepare('SELECT coalesce(sum(length(latest)), 0) AS receipts FROM images').get() ?? {}
  db.close()
  return { receipts: Number(receipts) }
}
