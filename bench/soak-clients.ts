import { setTimeout as sleep } from 'node:timers/promises'
import { fixture, photos, pngOfSize, sha256, tinyPng } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { openSocket, parseResponse, requestHead } from '../test/support/socket.ts'

/** What the clients of a soak have done so far. */
export interface Soaked {
  requests: number
  uploads: number
  aborts: number
  refusals: number
  /** What should not have been, in words. */
  faults: string[]
}

export interface SoakOptions {
  readonly url: string
  readonly key: string
  /** From 0 to 1. */
  readonly random: () => number
  readonly result: Soaked
  readonly signal: AbortSignal
}

/** The same numbers for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Live {
  readonly url: string
  readonly hash: string
  readonly size: number
  /** Unix milliseconds. */
  readonly until: number
}

const FILES = '/v1/files/uploads'
/** Milliseconds in which an answer must have come. */
const TIMEOUT = 30_000
/** Milliseconds before its expiry in which nothing is expected of an image. */
const MARGIN = 3000

/** One client, which does one thing after the other until it is stopped. */
export async function soakClients({ url, key, random, result, signal }: SoakOptions): Promise<void> {
  const live: Live[] = []
  const authorization = `Bearer ${key}`
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const fault = (text: string) => void result.faults.push(text)

  async function ask(path: string, init: RequestInit = {}): Promise<{ status: number; bytes: Buffer }> {
    result.requests += 1
    const response = await fetch(url + path, { ...init, signal: AbortSignal.timeout(TIMEOUT) })
    const bytes = Buffer.from(await response.arrayBuffer())
    if (response.status >= 500)
      fault(`${init.method ?? 'GET'} ${path}: ${response.status} ${bytes.subarray(0, 200)}`)
    return { status: response.status, bytes }
  }

  function image(): Buffer {
    const chance = random()
    if (chance < 0.3) return fixture(pick(photos).file)
    // Mostly small, now and then of the largest size.
    const size = chance > 0.995 ? 20 * 1024 ** 2 : Math.floor(tinyPng.length + random() ** 6 * 4 * 1024 ** 2)
    return pngOfSize(size)
  }

  const post = (path: string, type: string, body: Buffer) =>
    ask(path, {
      method: 'POST',
      headers: { authorization, 'content-type': type },
      body: new Uint8Array(body),
    })
  const json = (value: unknown) => Buffer.from(JSON.stringify(value))

  async function upload(): Promise<void> {
    const [bytes, sent] = [image(), Date.now()]
    const form = uploadOf(bytes)
    const ways = {
      api: async () =>
        JSON.parse(String((await post('/api/upload', form.contentType, form.body)).bytes)).data,
      form: async () => JSON.parse(String((await post(FILES, form.contentType, form.body)).bytes)).url,
      base64: async () => {
        const { bytes: answer } = await post(
          `${FILES}/base64`,
          'application/json',
          json({ data: bytes.toString('base64') }),
        )
        return JSON.parse(String(answer)).url
      },
      link: async () => {
        const type = mediaTypeOf(bytes)
        const order = json({ content_type: type, size: bytes.length })
        const answer = JSON.parse(String((await post(`${FILES}/presign`, 'application/json', order)).bytes))
        const { pathname, search } = new URL(answer.upload_url)
        const headers = { 'content-type': type }
        await ask(pathname + search, { method: 'PUT', headers, body: new Uint8Array(bytes) })
        return answer.url
      },
    }
    const way = pick(Object.keys(ways) as (keyof typeof ways)[])
    const location = await ways[way]()
    if (typeof location !== 'string') return fault(`${way}: ${bytes.length} bytes were not stored`)
    result.uploads += 1
    // Names count in whole seconds.
    live.push({
      url: new URL(location).pathname,
      hash: sha256(bytes),
      size: bytes.length,
      until: sent + 19_000,
    })
  }

  /** Begins an upload and leaves it at a random byte. */
  async function abort(): Promise<void> {
    const form = uploadOf(image())
    const socket = await openSocket(Number(new URL(url).port))
    const type = { 'Content-Type': form.contentType, 'Content-Length': form.body.length }
    socket.write(requestHead('POST /api/upload', { Authorization: authorization, ...type }))
    socket.write(form.body.subarray(0, Math.floor(random() * form.body.length)))
    await sleep(random() * 30)
    if (random() < 0.5) socket.resetAndDestroy()
    else socket.destroy()
    result.aborts += 1
  }

  async function sendBadInput(): Promise<void> {
    const { body, contentType } = uploadOf(image())
    const bad = [
      () => post('/api/upload', contentType, body.subarray(0, -20)),
      () => post('/api/upload', contentType, uploadOf(Buffer.from('no image')).body),
      () => post(`${FILES}/base64`, 'application/json', Buffer.from('{"data":"*')),
      () => post(`${FILES}/base64`, 'text/plain', Buffer.from('x')),
      () => post('/api/upload', contentType, uploadOf(pngOfSize(20 * 1024 ** 2 + 1)).body),
      () => ask('/uploads/2026/01/nothing.png'),
      () => ask('/api/upload', { method: 'POST', headers: { authorization: 'Bearer wrong' }, body: 'x' }),
      async () => {
        const socket = await openSocket(Number(new URL(url).port))
        socket.setTimeout(TIMEOUT, () => socket.destroy(new Error('no answer in time')))
        socket.end('POST / HTTP/1.1\r\nBad Header\r\n\r\n')
        const pieces = await Array.fromAsync(socket)
        return parseResponse(Buffer.concat(pieces))
      },
    ]
    const { status } = await pick(bad)()
    if (status < 400) fault(`bad input was answered ${status}`)
    result.refusals += 1
  }

  async function read(): Promise<void> {
    while (live[0] && live[0].until - MARGIN < Date.now()) await checkExpired(live.shift() as Live)
    if (live.length === 0) return
    const { url: path, hash, size } = pick(live)
    const chance = random()
    const range = Math.floor(random() * size)
    const { status, bytes } =
      chance < 0.2
        ? await ask(path, { method: 'HEAD' })
        : await ask(path, chance < 0.5 ? { headers: { range: `bytes=${range}-` } } : {})
    const isRight =
      chance < 0.2
        ? bytes.length === 0
        : chance < 0.5
          ? bytes.length === size - range
          : sha256(bytes) === hash
    if (!isRight || (status !== 200 && status !== 206))
      fault(`${path}: ${status} with ${bytes.length} of ${size} bytes`)
  }

  async function checkExpired({ url: path, until }: Live): Promise<void> {
    if (Date.now() < until + MARGIN) return
    const { status } = await ask(path)
    if (status !== 410) fault(`${path} has expired, but is ${status}`)
  }

  const list = async () => {
    const { status } = await ask(FILES, { headers: { authorization } })
    if (status !== 200) fault(`the list is ${status}`)
  }

  const actions = [upload, upload, upload, read, read, read, read, read, abort, sendBadInput, list]
  while (!signal.aborted) {
    await pick(actions)().catch((error) => fault(`${error}: ${(error as Error).cause ?? ''}`))
    await sleep(random() * 40)
  }
  for (const { url: path, hash, until } of live) {
    if (until - MARGIN < Date.now()) continue
    if (sha256((await ask(path)).bytes) !== hash) fault(`${path} is not what was sent`)
  }
}

function mediaTypeOf(bytes: Buffer): string {
  const photo = photos.find(({ file }) => fixture(file).equals(bytes))
  return photo?.mediaType ?? 'image/png'
}
