import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { type Fault, type FaultyS3, startFaultyS3 } from '../support/faulty-s3.ts'
import { pngOfSize, sha256 } from '../support/images.ts'
import { variablesOf } from '../support/place.ts'
import { eventually, openSocket, requestHead } from '../support/socket.ts'

/** Uploads by link through this server, to a store that fails on demand, and replaces what it is told to. */
let s3: FaultyS3
let app: TestApp
beforeEach(async () => {
  s3 = await startFaultyS3({ heedsConditions: false })
  app = await startApp({ env: onFaulty() })
})
afterEach(async () => {
  await app[Symbol.asyncDispose]()
  await s3[Symbol.asyncDispose]()
})

const onFaulty = () => ({
  STORE: 's3',
  S3_BUCKET: 'bucket',
  S3_TIMEOUT: '3s',
  S3_PRESIGN_ENDPOINT: 'off',
  ...variablesOf({ endpoint: s3.endpoint, accessKeyId: 'key', secretAccessKey: 'very-secret' }),
})

const png = pngOfSize(200_000)
const other = Buffer.from(png)
other[150_000] = 1

interface Link {
  id: string
  url: string
  upload_url: string
}

async function presign(of = app): Promise<Link> {
  const answer = await fetch(`${of.url}/v1/files/uploads/presign`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ content_type: 'image/png', size: png.length }),
  })
  return (await answer.json()) as Link
}

async function send({ upload_url }: Link, bytes = png): Promise<number> {
  const headers = { 'content-type': 'image/png' }
  return (await fetch(upload_url, { method: 'PUT', headers, body: new Uint8Array(bytes) })).status
}

async function hashOf({ url }: Link): Promise<string> {
  return sha256(new Uint8Array(await (await fetch(url)).arrayBuffer()))
}

describe('what was answered 200 stays, though the first try failed with', () => {
  test.each([
    { fault: { status: 500, code: 'InternalError' }, again: 200 },
    { fault: { status: 503, code: 'SlowDown' }, again: 200 },
    // It was stored, so the second try finds it there.
    { fault: 'lose the answer', again: 409 },
    { fault: 'reset', again: 200 },
  ] as { fault: Fault; again: number }[])('$fault', async ({ fault, again }) => {
    const link = await presign()
    s3.fail('PutObject', fault)
    expect(await send(link)).toBe(503)
    s3.heal()
    expect(await send(link)).toBe(again)
    // Longer than the store waits before it takes back, once more, what a failed try may have left.
    await new Promise((resolve) => setTimeout(resolve, 6000))
    expect(await hashOf(link)).toBe(sha256(png))
  })

  test('a client that left before its answer, and that tries again', async () => {
    const link = await presign()
    s3.late = 1000
    s3.fail('PutObject', 'be late', 1)
    const socket = await openSocket(app.port)
    const { pathname, search } = new URL(link.upload_url)
    const headers = { 'Content-Type': 'image/png', 'Content-Length': png.length }
    socket.write(requestHead(`PUT ${pathname}${search}`, headers))
    socket.write(png)
    await eventually(() => s3.asked.includes('PutObject'))
    socket.destroy()
    await eventually(async () => (await send(link)) === 409)
    await new Promise((resolve) => setTimeout(resolve, 6000))
    expect(await hashOf(link)).toBe(sha256(png))
  })
})

test('of two uploads by one link the first to arrive stays, however late the other ends', async () => {
  const link = await presign()
  const socket = await openSocket(app.port)
  const { pathname, search } = new URL(link.upload_url)
  const headers = { 'Content-Type': 'image/png', 'Content-Length': png.length }
  socket.write(requestHead(`PUT ${pathname}${search}`, headers))
  socket.write(other.subarray(0, -1))
  await eventually(() => s3.asked.filter((operation) => operation === 'HeadObject').length >= 2)
  expect(await send(link)).toBe(200)
  let answer = ''
  socket.on('data', (bytes) => {
    answer += bytes
  })
  socket.write(other.subarray(-1))
  await eventually(() => answer.includes('upload_done'))
  socket.destroy()
  expect(await hashOf(link)).toBe(sha256(png))
})

test('a store that takes longer than a client may be idle loses no upload by link', async () => {
  await using hasty = await startApp({ env: { ...onFaulty(), IDLE_TIMEOUT: '1s' } })
  s3.late = 1700
  const link = await presign(hasty)
  s3.fail('HeadObject', 'be late', 1)
  s3.fail('PutObject', 'be late', 1)
  expect(await send(link)).toBe(200)
  expect(await hashOf(link)).toBe(sha256(png))
})
