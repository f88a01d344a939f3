import { readdirSync, readFileSync } from 'node:fs'
import { request as ask } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { crc32, createDeflate } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { APIS } from '../../src/vision/limits.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { fixture, pngHeader, sha256, tinyPng } from '../support/images.ts'
import { multipartBody, type Part } from '../support/multipart.ts'
import { type Origin, startOrigin } from '../support/remote.ts'
import { installedSharp } from '../support/sharp.ts'
import { eventually } from '../support/socket.ts'

const FILES = '/v1/files/uploads'
const sharp = installedSharp()

let app: TestApp
let origin: Origin
beforeAll(async () => {
  origin = await startOrigin((_request, response) => response.end(fixture('photo.jpg')))
})
afterAll(() => origin[Symbol.asyncDispose]())
afterEach(() => app[Symbol.asyncDispose]())

const start = async (env: Record<string, string> = {}) => {
  app = await startApp({ env: { URL_FETCH_ALLOW: `127.0.0.1:${origin.port}`, ...env } })
}

interface Facts {
  readonly id: string
  readonly url: string
  readonly mime_type: string
  readonly size: number
  readonly width: number
  readonly height: number
  readonly animated: boolean
  readonly expires_at: string
  readonly delete_url: string
}
type Answer = Facts & { readonly fitted?: Facts; readonly error?: { code: string; message: string } }

async function post(path: string, body: string | Buffer, headers: Record<string, string>) {
  const sent = typeof body === 'string' ? body : new Uint8Array(body)
  const answer = await fetch(`${app.url}${path}`, {
    method: 'POST',
    body: sent,
    headers: { authorization, ...headers },
  })
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Answer }
}

const file = (content: Buffer): Part => ({ name: 'file', content, filename: 'x' })

function upload(image: Buffer, query: string, fields: Part[] = []) {
  const { body, contentType } = multipartBody([...fields, file(image)])
  return post(`${FILES}${query}`, body, { 'content-type': contentType })
}

/** A copy that was made, with its bytes. */
async function copyOf(image: Buffer, query: string) {
  const { status, body } = await upload(image, query)
  expect({ status, error: body.error }).toEqual({ status: 200, error: undefined })
  const fitted = body.fitted as Facts
  const bytes = await bytesAt(fitted.url)
  expect(bytes.length).toBe(fitted.size)
  return { original: body, fitted, bytes }
}

async function bytesAt(url: string): Promise<Buffer> {
  const answer = await fetch(url.replace(/^http:\/\/localhost:\d+/, app.url))
  return Buffer.from(await answer.arrayBuffer())
}

const photo = fixture('photo.jpg')
const form = multipartBody([file(photo)])
const json = { 'content-type': 'application/json' }
const multipart = { 'content-type': form.contentType }

describe.skipIf(sharp === undefined)('a copy that fits', () => {
  const decode = (bytes: Buffer) => (sharp as NonNullable<typeof sharp>)(bytes)
  const paint = (width: number, height: number, background: string, channels = 3) =>
    (sharp as NonNullable<typeof sharp>)({ create: { width, height, channels, background } })

  const noise = (side: number, channels = 3) => {
    const noise = { type: 'gaussian', mean: 128, sigma: 60 }
    return (sharp as NonNullable<typeof sharp>)({
      create: { width: side, height: side, channels, background: '#000', noise },
    })
  }

  test.each([
    ['in the query', () => post(`${FILES}?fit=300`, form.body, multipart)],
    ['in a header', () => post(FILES, form.body, { ...multipart, 'x-layover-fit': '300' })],
    ['in a field', () => upload(photo, '', [{ name: 'fit', content: '300' }])],
    [
      'beside base64',
      () => post(`${FILES}/base64`, JSON.stringify({ data: photo.toString('base64'), fit: 300 }), json),
    ],
    [
      'beside a URL',
      () =>
        post(`${FILES}/url`, JSON.stringify({ url: `http://127.0.0.1:${origin.port}/`, fit: '300' }), json),
    ],
  ])('is made as asked for %s, beside the image as it came', async (_where, call) => {
    await start()
    const { status, body } = await call()
    expect({ status, error: body.error }).toEqual({ status: 200, error: undefined })
    const { fitted } = body
    expect(fitted).toMatchObject({ mime_type: 'image/jpeg', width: 300, height: 142, animated: false })
    expect(fitted?.expires_at).toBe(body.expires_at)
    expect(fitted?.id).not.toBe(body.id)
    expect(body).toMatchObject({ width: 1024, height: 484, size: photo.length })
    expect(sha256(await bytesAt(body.url))).toBe(sha256(photo))
    const copy = await bytesAt(fitted?.url ?? '')
    expect(await decode(copy).metadata()).toMatchObject({ format: 'jpeg', width: 300, height: 142 })
    expect((await app.files()).length).toBe(2)
    // Both are the key's own.
    const own = await fetch(`${app.url}${FILES}/${fitted?.id}`, {
      method: 'DELETE',
      headers: { authorization },
    })
    expect(own.status).toBe(200)
    expect(sha256(await bytesAt(body.url))).toBe(sha256(photo))
  })

  test('has its URL in a header of the envelope, which stays as it is', async () => {
    await start()
    const answer = await post('/api/upload?fit=300', form.body, multipart)
    expect(Object.keys(answer.body)).toEqual(['success', 'message', 'data'])
    const url = answer.headers.get('x-layover-fitted-url') ?? ''
    expect((await decode(await bytesAt(url)).metadata()).width).toBe(300)
  })

  test('is the image itself where that is as wanted', async () => {
    await start()
    const { body } = await upload(photo, '?fit=anthropic')
    expect(body.fitted).toMatchObject({ id: body.id, url: body.url, size: photo.length, width: 1024 })
    expect((await app.files()).length).toBe(1)
  })

  let wild: Buffer | undefined
  test.each(APIS.map(({ id }) => id))('is taken by %s', async (id) => {
    await start()
    wild ??= await paint(8100, 5400, '#369').png({ palette: true }).toBuffer()
    const { fitted } = await copyOf(wild, `?fit=${id}`)
    const found = await fetch(`${app.url}${FILES}/${fitted.id}/compatibility`, { headers: { authorization } })
    const { apis } = (await found.json()) as { apis: { api: string; reasons: object[] }[] }
    expect(apis.find(({ api }) => api === id)?.reasons).toEqual([])
  })

  test('is a still of an animation where only stills are taken, else moves', async () => {
    await start()
    const still = await copyOf(fixture('animated.gif'), '?fit=xai')
    expect(still.fitted).toMatchObject({ animated: false })
    expect(['image/png', 'image/jpeg']).toContain(still.fitted.mime_type)
    const moving = await copyOf(fixture('animated.gif'), '?fit=50')
    expect(moving.fitted).toMatchObject({ animated: true, mime_type: 'image/gif', width: 50 })
    expect((await decode(moving.bytes).metadata()).pages).toBe(3)
    const webp = await copyOf(fixture('animated.webp'), '?fit=50')
    expect(webp.fitted).toMatchObject({ animated: true, mime_type: 'image/webp', width: 50 })
  })

  test('keeps what is transparent, as PNG where the format has to change', async () => {
    await start()
    const clear = await paint(400, 300, '#ff000080', 4).webp().toBuffer()
    const { fitted, bytes } = await copyOf(clear, '?fit=kling')
    expect(fitted.mime_type).toBe('image/png')
    expect((await decode(bytes).metadata()).hasAlpha).toBe(true)
  })

  test('stays below the bytes that are taken', async () => {
    await start()
    const large = await noise(1500).png({ compressionLevel: 1 }).toBuffer()
    expect(large.length).toBeGreaterThan(5 * 1024 ** 2)
    const { fitted } = await copyOf(large, '?fit=anthropic-cloud')
    expect(fitted.size).toBeLessThanOrEqual(5 * 1024 ** 2)
    // Its quality goes before its size does.
    expect(fitted).toMatchObject({ mime_type: 'image/jpeg', width: 1500, height: 1500 })
  })

  test('stands upright, whatever side its first row is on', async () => {
    await start()
    // Red above blue as it is stored; orientation 6 says that it is to be turned clockwise.
    const blue = await paint(200, 50, '#00f').png().toBuffer()
    const stored = paint(200, 100, '#f00').composite([{ input: blue, top: 50, left: 0 }])
    const lying = await stored.jpeg().withMetadata({ orientation: 6 }).toBuffer()
    const { fitted, bytes } = await copyOf(lying, '?fit=100')
    expect(fitted).toMatchObject({ width: 50, height: 100 })
    expect((await decode(bytes).metadata()).orientation ?? 1).toBe(1)
    const pixels = await decode(bytes).removeAlpha().raw().toBuffer()
    const at = (x: number, y: number) => [...pixels.subarray(3 * (y * 50 + x), 3 * (y * 50 + x) + 3)]
    const [left, right] = [at(5, 50), at(44, 50)] as [number[], number[]]
    // What was above is on the right now.
    expect([(left[2] ?? 0) > 200, (right[0] ?? 0) > 200]).toEqual([true, true])
  })

  test('keeps its colours: the profile, and the numbers that it is for', async () => {
    await start()
    const wide = await paint(400, 300, '#2a9d4f').withIccProfile('p3').jpeg({ quality: 100 }).toBuffer()
    const before = await decode(wide).keepIccProfile().raw().toBuffer()
    const { bytes } = await copyOf(wide, '?fit=100&strip=metadata')
    const { icc } = await decode(bytes).metadata()
    expect(icc?.equals((await decode(wide).metadata()).icc as Buffer)).toBe(true)
    const after = await decode(bytes).keepIccProfile().raw().toBuffer()
    for (const channel of [0, 1, 2])
      expect(Math.abs((after[channel] ?? 0) - (before[channel] ?? 0))).toBeLessThanOrEqual(3)
  })

  test('is for screens, if the image is for print', async () => {
    await start()
    const print = await paint(300, 300, '#c22').toColourspace('cmyk').jpeg().toBuffer()
    expect((await decode(print).metadata()).space).toBe('cmyk')
    const { bytes } = await copyOf(print, '?fit=100')
    expect((await decode(bytes).metadata()).space).toBe('srgb')
    const [red = 0, green = 0] = await decode(bytes).raw().toBuffer()
    expect(red > 150 && green < 100).toBe(true)
  })

  test.each(['jpeg', 'png', 'webp'] as const)(
    'of a %s has no metadata left if that is asked for',
    async (format) => {
      await start()
      const exif = {
        IFD0: { Artist: 'Somebody' },
        IFD3: { GPSLatitudeRef: 'N', GPSLatitude: '51/1 30/1 3230/100' },
      }
      const tagged = paint(120, 80, '#abc').withIccProfile('p3').withExif(exif)
      const image = await tagged[format]().toBuffer()
      expect(traces(image)).toContain('Somebody')
      const { fitted, bytes, original } = await copyOf(image, '?strip=metadata')
      expect(traces(bytes)).toEqual([])
      expect(await decode(bytes).metadata()).toMatchObject({
        format,
        width: 120,
        height: 80,
        icc: expect.any(Buffer),
      })
      expect(fitted).toMatchObject({ width: 120, height: 80 })
      expect(sha256(await bytesAt(original.url))).toBe(sha256(image))
      // Without being asked, it keeps them.
      expect(traces((await copyOf(image, '?fit=100')).bytes)).toContain('Somebody')
    },
  )

  test('has no XMP and no comments left either', async () => {
    await start()
    const comment = Buffer.from('\xff\xfe\0\x0aSomebody', 'latin1')
    const xmp = Buffer.from(
      'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/">Somebody</x:xmpmeta>',
    )
    const segment = Buffer.concat([Buffer.from([0xff, 0xe1, 0, xmp.length + 2]), xmp])
    const image = Buffer.concat([photo.subarray(0, 2), comment, segment, photo.subarray(2)])
    const { bytes } = await copyOf(image, '?strip=metadata')
    expect(traces(bytes)).toEqual([])
  })

  test('counts for the quota like an upload of its own', async () => {
    await start({ QUOTA: '1MB' })
    const { original, fitted } = await copyOf(photo, '?fit=300')
    const usage = await fetch(`${app.url}/v1/files/usage`, { headers: { authorization } })
    const { quota } = (await usage.json()) as { quota: object }
    expect(quota).toMatchObject({ used: original.size + fitted.size, reserved: 0 })
  })

  test('that the quota has no room for leaves neither of the two', async () => {
    await start({ QUOTA: `${Math.floor(photo.length / 1024) + 1}KB` })
    const { status, body } = await upload(photo, '?fit=1000')
    expect([status, body.error?.code]).toEqual([413, 'file_over_quota'])
    expect(await app.files()).toEqual([])
    expect((await upload(photo, '')).status).toBe(200)
  })

  test.each([
    ['cut off', photo.subarray(0, 60_000)],
    ['a header alone', pngHeader(9000, 9000)],
    ['full of rubbish', Buffer.from(fixture('photo.png')).fill(0x55, 20_000, 60_000)],
  ])('of an image that is %s cannot be made, and nothing is left', async (_what, image) => {
    await start()
    const { status, body } = await upload(image, '?fit=300')
    expect([status, body.error?.code]).toEqual([422, 'fit_failed'])
    expect(body.error?.message).not.toMatch(/vips|Input buffer/i)
    expect(await app.files()).toEqual([])
    // As it is, it is taken as ever.
    expect((await upload(image, '')).status).toBe(200)
  })

  test('of a bomb, 30 million pixels in some kilobytes, takes no more memory than there is', async () => {
    await start({ FIT_MEMORY: '64MB' })
    const bytes = await bomb(5000, 6000)
    expect(bytes.length).toBeLessThan(1024 ** 2)
    const { status, body } = await upload(bytes, '?fit=300')
    expect([status, body.error?.code]).toEqual([422, 'fit_failed'])
    expect(await app.files()).toEqual([])
    // It was for the memory: there is nothing else wrong with it.
    await app[Symbol.asyncDispose]()
    await start({ FIT_MEMORY: '512MB' })
    expect((await upload(bytes, '?fit=300')).body.fitted).toMatchObject({ width: 250, height: 300 })
  })

  test('goes when its client does', async () => {
    await start()
    const image = await noise(2000).jpeg().toBuffer()
    const { body, contentType } = multipartBody([file(image)])
    const leaving = ask(`${app.url}${FILES}?fit=1000`, {
      method: 'POST',
      headers: { authorization, 'content-type': contentType, 'content-length': body.length },
    })
    leaving.on('error', () => {})
    leaving.end(body)
    // Its temp file is whole.
    await eventually(async () => (await app.files()).length > 0)
    leaving.destroy()
    await eventually(async () => (await app.files()).length === 0)
  })

  test('twenty at once are all made', async () => {
    await start()
    const answers = await Promise.all(Array.from({ length: 20 }, () => upload(photo, '?fit=200')))
    expect(answers.map(({ status, body }) => [status, body.fitted?.width])).toEqual(
      answers.map(() => [200, 200]),
    )
    expect((await app.files()).length).toBe(40)
  }, 120_000)

  test('of a picture that no smaller copy makes fit is refused with the reason', async () => {
    await start()
    const { status, body } = await upload(await paint(2000, 200, '#333').png().toBuffer(), '?fit=runway')
    expect([status, body.error?.code]).toEqual([422, 'fit_impossible'])
    expect(body.error?.message).toMatch(/10 times its height/)
    expect(await app.files()).toEqual([])
  })

  const corpus = join(import.meta.dirname, '../../../shared/corpus')
  test.skipIf(!exists(corpus))(
    'of other programs’ images is made, or refused',
    async () => {
      await start()
      for (const format of ['jpeg', 'png', 'gif', 'webp']) {
        const folder = join(corpus, format, 'valid')
        for (const name of readdirSync(folder).slice(0, 8)) {
          const { status, body } = await upload(readFileSync(join(folder, name)), '?fit=64&strip=metadata')
          const outcome = { name, status, code: body.error?.code }
          if (status !== 200) expect(outcome).toEqual({ name, status: 422, code: 'fit_failed' })
          else expect(Math.max(body.fitted?.width ?? 0, body.fitted?.height ?? 0)).toBeLessThanOrEqual(64)
        }
      }
    },
    120_000,
  )
})

describe('without what makes copies', () => {
  test.each(['fit=300', 'strip=metadata', 'fit=openai'])(
    '%s is refused before the body is read',
    async (query) => {
      await start({ FIT_WORKERS: '0' })
      const { status, body } = await upload(tinyPng, `?${query}`)
      expect([status, body.error?.code]).toEqual([501, 'fit_unavailable'])
      expect((await upload(tinyPng, '', [{ name: 'fit', content: '300' }])).status).toBe(501)
      expect(await app.files()).toEqual([])
      expect((await upload(tinyPng, '')).status).toBe(200)
    },
  )
})

test.each([
  'fit=0',
  'fit=15',
  'fit=16385',
  'fit=-5',
  'fit=1e3',
  'fit=0300',
  'fit=',
  'fit=toString',
  'fit=openai&fit=xai',
  'strip=',
  'strip=all',
])('nobody can ask for %s', async (query) => {
  await start()
  const { status, body } = await upload(tinyPng, `?${query}`)
  expect([status, body.error?.code]).toEqual([400, expect.stringMatching(/^(fit|strip)_invalid$/)])
})

/** What metadata would leave in a file, as text. */
function traces(bytes: Buffer): string[] {
  const text = bytes.toString('latin1')
  return ['Somebody', 'Exif\0', 'eXIf', 'EXIF', 'xmp', 'XMP ', 'XML:com.adobe', 'Photoshop'].filter((trace) =>
    text.includes(trace),
  )
}

/** A PNG of some kilobytes that is interlaced, so that a decoder has to have all of its pixels at once. */
async function bomb(width: number, height: number): Promise<Buffer> {
  const header = Buffer.from(pngHeader(width, height).subarray(0, 33))
  header.writeUInt8(1, 28)
  // Rows of nothing: the passes' rows have a byte more each, of which there are fewer than two for each row.
  const zeros = Readable.from(
    (function* () {
      for (let left = (4 * width + 2) * height; left > 0; left -= 65_536) yield Buffer.alloc(65_536)
    })(),
  )
  return chunked(header, await buffer(zeros.pipe(createDeflate({ level: 1 }))))
}

function chunked(start: Buffer, pixels: Buffer): Buffer {
  const chunk = (type: string, content: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), content])
    const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(content.length)
    checksum.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, checksum])
  }
  return Buffer.concat([
    start.subarray(0, 8),
    chunk('IHDR', start.subarray(16, 29)),
    chunk('IDAT', pixels),
    chunk('IEND', Buffer.of()),
  ])
}

function exists(folder: string): boolean {
  try {
    return readdirSync(folder).length > 0
  } catch {
    return false
  }
}
