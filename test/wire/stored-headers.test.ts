import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Store } from '../../src/store/store.ts'
import { authorization, startApp } from '../support/app.ts'
import { fillBytesJpeg, smallBlocksGif } from '../support/hostile.ts'
import { fixture } from '../support/images.ts'
import { eventually } from '../support/socket.ts'

const FILES = '/v1/files/uploads'

let dataDir: string
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'layover-'))
})
afterEach(() => rm(dataDir, { recursive: true }))

interface Uploaded {
  readonly id: string
  readonly url: string
}

/** A server on this folder, whose store counts reads, and waits with them if it is told to. */
async function start(until?: Promise<void>) {
  const count = { stats: 0, opens: 0, open: 0 }
  const wrap = (store: Store): Store => ({
    ...store,
    stat(key) {
      count.stats += 1
      return store.stat(key)
    },
    async open(key, options) {
      count.opens += 1
      count.open += 1
      await until
      count.open -= 1
      return store.open(key, options)
    },
  })
  const app = await startApp({ dataDir, wrap })
  const call = (path: string, init: RequestInit = {}) =>
    fetch(`${app.url}${path}`, { ...init, headers: { authorization, ...init.headers } })
  const upload = async (bytes: Buffer) => {
    const body = new FormData()
    body.append('file', new Blob([new Uint8Array(bytes)]), 'x')
    const answer = await call(FILES, { method: 'POST', body })
    expect(answer.status).toBe(200)
    return (await answer.json()) as Uploaded
  }
  return { app, call, upload, count }
}

const animated = { width: 120, height: 56, animated: true }

test('what an upload found out is not read again, and what another process stored is read once', async () => {
  let id: string
  {
    const { app, call, upload, count } = await start()
    await using _ = app
    ;({ id } = await upload(fixture('animated.gif')))
    for (const path of [id, `${id}/compatibility`])
      expect(await (await call(`${FILES}/${path}`)).json()).toMatchObject(animated)
    expect(count).toMatchObject({ stats: 2, opens: 0 })
  }
  const { app, call, count } = await start()
  await using _ = app
  for (const path of [id, `${id}/compatibility`, id])
    expect(await (await call(`${FILES}/${path}`)).json()).toMatchObject(animated)
  expect(count).toMatchObject({ stats: 3, opens: 1 })
})

test('an image whose header is remembered is gone at once when any process has deleted it', async () => {
  const { app, call, upload } = await start()
  await using _ = app
  const other = await start()
  await using _other = other.app
  for (const remove of [
    ({ id }: Uploaded) => call(`${FILES}/${id}`, { method: 'DELETE' }),
    ({ id }: Uploaded) => other.call(`${FILES}/${id}`, { method: 'DELETE' }),
    ({ url }: Uploaded) => other.app.store.delete(url.slice(url.lastIndexOf('/') + 1)),
  ]) {
    const uploaded = await upload(fixture('animated.gif'))
    const { id } = uploaded
    expect((await call(`${FILES}/${id}`)).status).toBe(200)
    await remove(uploaded)
    expect((await call(`${FILES}/${id}`)).status).toBe(404)
    expect((await call(`${FILES}/${id}/compatibility`)).status).toBe(404)
  }
})

test.each<[string, Buffer]>([
  ['a JPEG of 95 KB of fill bytes', fillBytesJpeg(95_000)],
  ['a GIF of 4 MB in sub-blocks of 48 bytes', smallBlocksGif(4e6)],
])('%s can be uploaded, and its header is read once whoever asks', async (_title, bytes) => {
  let id: string
  {
    const { app, upload } = await start()
    await using _ = app
    ;({ id } = await upload(bytes))
  }
  const { app, call, count } = await start()
  await using _ = app
  const facts = { size: bytes.length, width: 1, height: 1, animated: false }
  expect(await (await call(`${FILES}/${id}`)).json()).toMatchObject(facts)
  const { opens } = count
  const answers = await Promise.all(Array.from({ length: 50 }, () => call(`${FILES}/${id}`)))
  for (const answer of answers) expect(await answer.json()).toMatchObject(facts)
  expect(count.opens).toBe(opens)
})

test('four headers are read at once, others wait for their turn, and those beyond 64 of a key are 503', async () => {
  let id: string
  {
    const { app, upload } = await start()
    await using _ = app
    ;({ id } = await upload(fixture('animated.gif')))
  }
  const { promise: until, resolve: release } = Promise.withResolvers<void>()
  const { app, call, upload, count } = await start(until)
  await using _ = app
  const reads = Array.from({ length: 70 }, () => call(`${FILES}/${id}`))
  const refused = await Promise.race(reads)
  expect(refused.status).toBe(503)
  expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
  expect(await refused.json()).toMatchObject({ error: { code: 'server_busy' } })
  await eventually(() => count.open === 4)
  // Neither other requests wait for them, nor those for a header that is remembered.
  const other = await upload(fixture('animated.gif'))
  expect(await (await call(`${FILES}/${other.id}`)).json()).toMatchObject(animated)
  release()
  const statuses = (await Promise.all(reads)).map(({ status }) => status)
  expect(statuses.filter((status) => status === 200)).toHaveLength(64)
  expect(count.opens).toBe(4)
})
