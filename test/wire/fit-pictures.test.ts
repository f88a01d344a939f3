import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { crc32, createDeflate } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { APIS } from '../../src/vision/limits.ts'
import { authorization, startApp, type TestApp, type TestAppOptions } from '../support/app.ts'
import { copiesOf, FILES } from '../support/copies.ts'
import { greyProfile } from '../support/grey-profile.ts'
import { fixture, pngHeader, sha256 } from '../support/images.ts'
import { installedSharp, picturesOf } from '../support/sharp.ts'

/** What is in the copies: pixels, colours, metadata. */

const sharp = installedSharp()

let app: TestApp
let copyOf: Copies['copyOf']
let upload: Copies['upload']
let bytesAt: Copies['bytesAt']
afterEach(() => app[Symbol.asyncDispose]())

type Copies = ReturnType<typeof copiesOf>

const start = async (env: Record<string, string> = {}, options: TestAppOptions = {}) => {
  app = await startApp({ ...options, env: { ...env } })
  ;({ copyOf, upload, bytesAt } = copiesOf(app))
}

const photo = fixture('photo.jpg')

describe.skipIf(sharp === undefined)('a copy', () => {
  const { decode, paint, noise } = picturesOf(sharp)

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

  test('of a grey picture is as light as that is, whatever its profile', async () => {
    await start()
    const grey = await paint(300, 200, '#808080').toColourspace('b-w').jpeg().toBuffer()
    const profile = Buffer.concat([Buffer.from('ICC_PROFILE\0\x01\x01'), greyProfile()])
    const segment = Buffer.concat([Buffer.from([0xff, 0xe2, 0, 0]), profile])
    segment.writeUInt16BE(profile.length + 2, 2)
    const image = Buffer.concat([grey.subarray(0, 2), segment, grey.subarray(2)])
    const [light = 0] = await decode(image).toColourspace('srgb').raw().toBuffer()
    expect(light).toBeGreaterThan(180)
    const { bytes } = await copyOf(image, '?fit=100')
    const [copied = 0] = await decode(bytes).raw().toBuffer()
    expect(Math.abs(copied - light)).toBeLessThanOrEqual(2)
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

  test('twenty at once are all made', async () => {
    await start()
    const answers = await Promise.all(Array.from({ length: 20 }, () => upload(photo, '?fit=200')))
    expect(answers.map(({ status, body }) => [status, body.fitted?.width])).toEqual(
      answers.map(() => [200, 200]),
    )
    expect((await app.files()).length).toBe(40)
  }, 120_000)

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
