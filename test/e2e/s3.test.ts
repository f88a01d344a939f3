import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, inject, test } from 'vitest'
import { fixture, pngOfSize, sha256 } from '../support/images.ts'
import { layLine } from '../support/line.ts'
import { uploadMany } from '../support/many.ts'
import { uploadOf } from '../support/multipart.ts'
import { placeOf } from '../support/place.ts'
import type { S3Access } from '../support/s3-servers.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, exchange, uploadHead } from '../support/socket.ts'

const endpoint = () => (JSON.parse(inject('s3')) as S3Access).endpoint

async function uploadPhoto(server: ServerProcess, fields: Record<string, string> = {}): Promise<string> {
  const { data } = (await (await server.upload('photo.jpg', { fields })).json()) as { data: string }
  return new URL(data).pathname
}

test('two processes on one bucket serve each other’s images, and expire them', async () => {
  await using first = await startServer({ env: { SWEEP_INTERVAL: '0', MAX_LIFETIME: '1h', LIFETIME: '1h' } })
  expect(first.output()).toContain('"store":"s3"')
  const path = await uploadPhoto(first)
  const shortLived = await uploadPhoto(first, { expires_in: '1' })

  // The same folder stands for the same bucket.
  await using second = await startServer({ dataDir: first.dataDir, env: { SWEEP_INTERVAL: '1s' } })
  const got = await fetch(second.url + path)
  expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(fixture('photo.jpg')))
  await eventually(async () => (await first.files()).length === 1)
  expect((await fetch(first.url + shortLived)).status).toBe(410)
  expect((await fetch(first.url + path)).status).toBe(200)
  expect(second.output()).toMatch(/"deleted":1,"bytes":237223,"failed":0/)
})

test('S3_PUBLIC_URL makes answers that lead to the bucket', async () => {
  await using server = await startServer({ env: { S3_PUBLIC_URL: 'https://cdn.example.com/bucket/' } })
  const { data } = (await (await server.upload('photo.png')).json()) as { data: string }
  expect(data).toMatch(/^https:\/\/cdn\.example\.com\/bucket\/images\/[0-9a-z]{53}\.png$/)
  expect(await server.files()).toEqual([data.split('/').at(-1)])
  // What is looked at is where the images are fetched.
  expect(server.output()).not.toContain('no model can fetch')
  await using other = await startServer({
    env: { S3_PUBLIC_URL: endpoint(), PUBLIC_URL: 'https://images.example.com' },
  })
  expect(other.output()).toMatch(/no model can fetch.*set S3_PUBLIC_URL/)
})

describe('a store that goes away', () => {
  test('in the middle of an upload is a 503 in time that leaves nothing; when it is back, so is the server', async () => {
    await using line = await layLine(endpoint())
    await using server = await startServer({ env: { S3_ENDPOINT: line.endpoint, S3_TIMEOUT: '5s' } })
    const form = uploadOf(pngOfSize(20 * 1024 ** 2))
    const upload = () =>
      exchange(Number(new URL(server.url).port), uploadHead(form, `Bearer ${server.key()}`), form.body)

    line.cutAfter(10_000_000)
    const begun = performance.now()
    const refused = await upload()
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '5' } })
    // Five seconds of attempts and as many of taking back what may be there.
    expect(performance.now() - begun).toBeLessThan(15_000)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503)
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)

    line.restore()
    expect(await server.files()).toEqual([])
    expect((await upload()).status).toBe(200)
    expect(await server.files()).toHaveLength(1)
    await eventually(async () => (await fetch(`${server.url}/readyz`)).status === 200)
  })

  test('in the middle of a download ends the connection, and does not pass for the end of the image', async () => {
    await using line = await layLine(endpoint())
    await using server = await startServer({ env: { S3_ENDPOINT: line.endpoint, S3_TIMEOUT: '2s' } })
    const form = uploadOf(pngOfSize(20 * 1024 ** 2))
    const { body } = await exchange(
      Number(new URL(server.url).port),
      uploadHead(form, `Bearer ${server.key()}`),
      form.body,
    )
    const { data } = JSON.parse(String(body))
    const answer = await fetch(data)
    line.cut()
    await expect(answer.arrayBuffer()).rejects.toThrow()
    expect((await fetch(data)).status).toBe(503)
    line.restore()
    expect((await fetch(data, { headers: { range: 'bytes=5-9' } })).status).toBe(206)
  })
})

test('a client that leaves in the middle of a download frees the connection to the store', async () => {
  await using line = await layLine(endpoint())
  await using server = await startServer({ env: { S3_ENDPOINT: line.endpoint } })
  const form = uploadOf(pngOfSize(20 * 1024 ** 2))
  const head = uploadHead(form, `Bearer ${server.key()}`)
  const { body } = await exchange(Number(new URL(server.url).port), head, form.body)
  const { data } = JSON.parse(String(body))
  const before = line.opened()
  for (let round = 0; round < 10; round += 1) {
    const abort = new AbortController()
    await fetch(data, { signal: abort.signal })
    abort.abort()
  }
  // Each began a body that could not be finished, and took its connection with it.
  await eventually(() => line.open() === 0 || line.open() <= before)
  expect(line.open()).toBeLessThanOrEqual(before)
})

test('a thousand uploads over sixteen connections share the connections to the store, and little memory', async () => {
  await using line = await layLine(endpoint())
  await using server = await startServer({ env: { S3_ENDPOINT: line.endpoint } })
  const statuses = await uploadMany(server, { image: pngOfSize(50 * 1024), count: 1000, connections: 16 })
  expect(statuses.filter((status) => status === 200)).toHaveLength(1000)
  expect(line.opened()).toBeLessThanOrEqual(64)
  const status = await readFile(`/proc/${server.pid}/status`, 'utf8').catch(() => undefined)
  // The kernel's own count of the peak, on Linux.
  if (status) expect(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1])).toBeLessThan(200 * 1024)
})

describe('layover migrate', () => {
  test('copies a server’s images to a bucket, so that their URLs work there, and does nothing twice', async () => {
    await using local = await startServer({ env: { STORE: 'local', MAX_LIFETIME: 'never' } })
    const paths = [await uploadPhoto(local), await uploadPhoto(local, { expires_in: '4000000000' })]
    await uploadPhoto(local, { expires_in: '1' })
    await new Promise((resolve) => setTimeout(resolve, 1100))

    const { env } = placeOf(local.dataDir)
    const migrate = () => runMigrate({ DATA_DIR: local.dataDir, ...env })
    expect(await migrate()).toContain('{"copied":2,"alreadyThere":0,"expired":1,"failed":0}')
    expect(await migrate()).toContain('{"copied":0,"alreadyThere":2,"expired":1,"failed":0}')
    await rm(join(local.dataDir, 'images'), { recursive: true })

    await using onS3 = await startServer({ dataDir: local.dataDir })
    for (const path of paths) {
      const got = await fetch(onS3.url + path)
      expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(fixture('photo.jpg')))
    }
    // One of them lives longer than this server's MAX_LIFETIME.
    expect(onS3.output()).toContain('no lifecycle rule is set')
  })

  test('says what is missing', async () => {
    await expect(runMigrate({ STORE: 'local' })).rejects.toThrow(/STORE: must be s3/)
  })
})

async function runMigrate(env: Readonly<Record<string, string>>): Promise<string> {
  const script = join(import.meta.dirname, '../../src/cli.ts')
  const options = { cwd: tmpdir(), env: { PATH: process.env.PATH, ...env } }
  return (await promisify(execFile)(process.execPath, [script, 'migrate'], options)).stdout
}
