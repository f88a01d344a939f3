import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { type StageOptions, stage } from '../../src/stage.ts'
import { fixture, photos, pngHeader, pngOfSize, tinyPng } from '../support/images.ts'
import { type TempFolder, tempSpool } from '../support/temp-folder.ts'

const LARGE = 700_000

/** Cuts bytes into chunks, as a body delivers them. */
async function* bodyOf(bytes: Buffer, size = 64 * 1024): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size)
}

type Limits = Partial<Omit<StageOptions, 'spool'>>

async function staging(body: AsyncIterable<Buffer>, limits: Limits = {}) {
  const folder = await tempSpool()
  const done = stage(body, { spool: folder.spool, maxFileSize: 1e6, maxPixels: 1e8, ...limits })
  return { folder, done }
}

/** Stages what must be refused, with nothing left behind, and answers with the refusal. */
async function refusalOf(body: AsyncIterable<Buffer>, limits?: Limits): Promise<unknown> {
  const { folder, done } = await staging(body, limits)
  await using _: TempFolder = folder
  const refusal = await done.then(
    () => expect.unreachable('it was taken'),
    (error: unknown) => error,
  )
  expect(await folder.names()).toEqual([])
  return refusal
}

describe('an image that is taken', () => {
  test.each(photos)('$file is $format, whole, and as it was', async ({ file, format }) => {
    const bytes = fixture(file)
    const { folder, done } = await staging(bodyOf(bytes, 1000))
    await using _: TempFolder = folder
    await using staged = await done
    expect(staged).toMatchObject({ format, size: bytes.length, header: { animated: false } })
    expect((await buffer(staged.open())).equals(bytes)).toBe(true)
  })

  test('stays in memory when it is small', async () => {
    const { folder, done } = await staging(bodyOf(tinyPng))
    await using _: TempFolder = folder
    await using staged = await done
    expect(staged.bytes?.equals(tinyPng)).toBe(true)
    expect(staged.md5).toBeUndefined()
    expect(staged.file).toBeUndefined()
    expect(await folder.names()).toEqual([])
  })

  test.each([tinyPng, pngOfSize(LARGE)])(
    'has a digest if the store wants one, wherever it is kept',
    async (bytes) => {
      const { folder, done } = await staging(bodyOf(bytes), { digest: 'md5' })
      await using _: TempFolder = folder
      await using staged = await done
      expect(staged.md5).toBe(createHash('md5').update(bytes).digest('base64'))
    },
  )

  test('goes to a file when it is large, which is removed when nobody needs it any more', async () => {
    const bytes = pngOfSize(LARGE)
    const { folder, done } = await staging(bodyOf(bytes))
    await using _: TempFolder = folder
    const staged = await done
    expect(staged.bytes).toBeUndefined()
    expect(existsSync(staged.file?.path ?? '')).toBe(true)
    expect(await folder.names()).toHaveLength(1)

    await staged[Symbol.asyncDispose]()
    await staged[Symbol.asyncDispose]()
    expect(await folder.names()).toEqual([])
  })

  test.each([67, LARGE])('of %i bytes can be read again and again', async (size) => {
    const bytes = pngOfSize(size)
    const { folder, done } = await staging(bodyOf(bytes))
    await using _: TempFolder = folder
    await using staged = await done
    const readings = await Promise.all([buffer(staged.open()), buffer(staged.open())])
    readings.push(await buffer(staged.open()))
    expect(readings.map((reading) => reading.equals(bytes))).toEqual([true, true, true])
  })

  test('may come byte by byte, and with empty chunks in between', async () => {
    const bytes = fixture('animated.webp')
    const { folder, done } = await staging(
      (async function* () {
        for await (const byte of bodyOf(bytes, 1)) yield* [Buffer.alloc(0), byte]
      })(),
    )
    await using _: TempFolder = folder
    await using staged = await done
    expect(staged).toMatchObject({ format: 'webp', header: { width: 120, height: 56, animated: true } })
    expect((await buffer(staged.open())).equals(bytes)).toBe(true)
  })

  test.each([5000, LARGE])('may have exactly the limit of %i bytes, and not one more', async (limit) => {
    const { folder, done } = await staging(bodyOf(pngOfSize(limit)), { maxFileSize: limit })
    await using _: TempFolder = folder
    await using staged = await done
    expect(staged.size).toBe(limit)

    const refusal = await refusalOf(bodyOf(pngOfSize(limit + 1)), { maxFileSize: limit })
    expect(refusal).toMatchObject({ code: 'file_too_large', status: 413 })
  })

  test('may have exactly the limit in pixels, and not one more', async () => {
    const { folder, done } = await staging(bodyOf(pngHeader(1000, 100)), { maxPixels: 100_000 })
    await using _: TempFolder = folder
    expect((await done).header).toMatchObject({ width: 1000, height: 100 })

    const refusal = await refusalOf(bodyOf(pngHeader(100_001, 1)), { maxPixels: 100_000 })
    expect(refusal).toMatchObject({ code: 'image_dimensions', status: 422 })
  })
})

describe('a body that is refused leaves nothing', () => {
  test('when it breaks off, early or after much of it was written, with the body’s own failure', async () => {
    for (const size of [100, LARGE]) {
      const failure = new Error('connection reset')
      const body = (async function* () {
        yield* bodyOf(pngOfSize(size))
        throw failure
      })()
      expect(await refusalOf(body)).toBe(failure)
    }
  })

  test('when it is empty', async () => {
    expect(await refusalOf(bodyOf(Buffer.alloc(0)))).toMatchObject({ code: 'file_empty', status: 400 })
  })

  test.each([
    ['text', Buffer.from('hello, this is not an image at all')],
    ['one byte', Buffer.from([0x89])],
    ['a byte order mark before a PNG', Buffer.concat([Buffer.from('\ufeff'), tinyPng])],
    ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')],
    ['HTML after the first bytes of a JPEG', Buffer.from('\xff\xd8\xff<html></html>', 'latin1')],
  ])('when it is %s', async (_title, bytes) => {
    expect(await refusalOf(bodyOf(bytes))).toMatchObject({
      code: expect.stringMatching(/^(format_unsupported|image_invalid)$/),
    })
  })

  test.each([
    ['a PNG without width', pngHeader(0, 10)],
    ['a PNG without height', pngHeader(10, 0)],
    ['a JPEG without height', Buffer.from('ffd8ffc0000b080000000a01011100ffda', 'hex')],
    ['a PNG of more pixels than any memory holds', pngHeader(0x7fffffff, 0x7fffffff)],
  ])('when it is %s', async (_title, bytes) => {
    expect(await refusalOf(bodyOf(bytes))).toMatchObject({ code: 'image_dimensions', status: 422 })
  })

  test('when its header is damaged, and the client is told how', async () => {
    const bytes = Buffer.from(pngOfSize(LARGE))
    bytes.writeUInt8(99, 20)
    expect(await refusalOf(bodyOf(bytes))).toMatchObject({
      code: 'image_invalid',
      status: 422,
      message: expect.stringMatching(/PNG.*checksum/),
    })
  })

  test('when it is no image, long before its end', async () => {
    let pulled = 0
    let isReleased = false
    const body = (async function* () {
      try {
        for (; pulled < 10_000; pulled += 1) yield Buffer.alloc(1024, 'no image ')
      } finally {
        isReleased = true
      }
    })()
    expect(await refusalOf(body, { maxFileSize: 1e9 })).toMatchObject({
      code: 'format_unsupported',
      status: 415,
    })
    expect(pulled).toBeLessThan(10)
    expect(isReleased).toBe(true)
  })
})
