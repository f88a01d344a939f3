import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  ObjectExists,
  ObjectNotFound,
  type StagedBytes,
  type Store,
  StoreError,
} from '../../src/store/store.ts'
import { sha256 } from '../support/images.ts'
import { aKey, asStream, bytesOf, failingAfter, heldHalfway, inFile, inMemory } from '../support/staged.ts'

/** One kind of store, as the suite needs it. Everything is made anew for each test. */
export interface Harness {
  readonly store: Store
  /** Opens the same objects a second time; none for a store that keeps nothing. */
  readonly reopen?: () => Promise<Store>
  /** Whatever is there beside objects: temp files, unfinished uploads, empty folders. */
  readonly leftovers: () => Promise<string[]>
  readonly close: () => Promise<void>
}

const MiB = 1024 ** 2

/**
 * The contract of `src/store/store.ts` as tests, which every store passes. After each test nothing may be left but what
 * the test put, and then nothing at all.
 */
export function storeContract(name: string, open: () => Promise<Harness>): void {
  describe(`the store contract: ${name}`, () => {
    let harness: Harness
    let store: Store

    beforeEach(async () => {
      harness = await open()
      store = harness.store
    })

    afterEach(async () => {
      for (const key of await keys()) await store.delete(key)
      const left = { objects: await keys(), others: await harness.leftovers() }
      await harness.close()
      expect(left).toEqual({ objects: [], others: [] })
    })

    async function keys(before?: string): Promise<string[]> {
      const found: string[] = []
      for await (const { key } of store.list(before === undefined ? {} : { before })) found.push(key)
      return found
    }

    async function read(key: string, range?: { start: number; end: number }): Promise<Buffer> {
      const { body } = await store.open(key, range ? { range } : {})
      return buffer(body)
    }

    async function expectNothing(key: string) {
      expect(await keys()).toEqual([])
      expect(await harness.leftovers()).toEqual([])
      await expect(store.stat(key)).rejects.toThrow(ObjectNotFound)
    }

    describe('put', () => {
      const sizes = [0, 1, 4096, 5 * MiB - 1, 5 * MiB, 5 * MiB + 1, 20 * MiB]
      const ways: [string, (bytes: Buffer) => Promise<StagedBytes>][] = [
        ['from memory', async (bytes) => inMemory(bytes)],
        ['from a stream', async (bytes) => asStream(bytes)],
        ['from a file', stagedFile],
      ]

      describe.each(ways)('%s', (_way, staged) => {
        test.each(sizes)('%i bytes come back as they were', async (size) => {
          const bytes = bytesOf(size)
          const key = aKey()
          await store.put(key, await staged(bytes))
          expect(await store.stat(key)).toEqual({ size })
          expect(sha256(await read(key))).toBe(sha256(bytes))
          expect(await keys()).toEqual([key])
        })
      })

      test.each([
        { when: 'at its first byte', sent: 0 },
        { when: 'half-way', sent: 300_000 },
        { when: 'at the last flush', sent: 600_000 },
      ])('of a body that fails $when rejects with its error and leaves nothing', async ({ sent }) => {
        const key = aKey()
        const error = new Error('the body broke')
        const failure = await store
          .put(key, failingAfter(bytesOf(600_000), sent, error))
          .catch((reason) => reason)
        expect(failure).toBeInstanceOf(StoreError)
        expect(failure.cause).toBe(error)
        await expectNothing(key)
      })

      test.each([
        { what: 'shorter', size: 600_001 },
        { what: 'longer', size: 599_999 },
      ])('of a body that is $what than announced is refused', async ({ size }) => {
        const key = aKey()
        await expect(store.put(key, asStream(bytesOf(600_000), size))).rejects.toThrow(StoreError)
        const { file } = await stagedFile(bytesOf(600_000))
        await expect(store.put(key, inFile(file?.path ?? '', size))).rejects.toThrow(StoreError)
        await expectNothing(key)
      })

      test('of a file that has gone is refused', async () => {
        const key = aKey()
        await expect(store.put(key, inFile(join(tmpdir(), 'layover-no-such-file'), 10))).rejects.toThrow(
          StoreError,
        )
        await expectNothing(key)
      })

      test('aborted before it begins stores nothing', async () => {
        const key = aKey()
        const reason = new Error('gone')
        await expect(
          store.put(key, inMemory(bytesOf(10)), { signal: AbortSignal.abort(reason) }),
        ).rejects.toBe(reason)
        await expectNothing(key)
      })

      test('aborted half-way stores nothing', async () => {
        const key = aKey()
        const reason = new Error('gone')
        const abort = new AbortController()
        const { staged, reached } = heldHalfway(bytesOf(600_000))
        const put = store.put(key, staged, { signal: abort.signal })
        await reached
        // The body never goes on: the put ends all the same.
        abort.abort(reason)
        await expect(put).rejects.toBe(reason)
        await expectNothing(key)
      })

      test('aborted when all was read, but nothing answered, has stored it or nothing', async () => {
        const stored: string[] = []
        for (let round = 0; round < 10; round += 1) {
          const key = aKey()
          const abort = new AbortController()
          const bytes = bytesOf(300_000)
          const open = () =>
            asStream(bytes)
              .open()
              .once('end', () => abort.abort(new Error('gone')))
          const put = store.put(key, { size: bytes.length, open }, { signal: abort.signal })
          const isStored = await put.then(
            () => true,
            ({ message }) => message !== 'gone' && expect.unreachable(message),
          )
          if (isStored) continue
          if (await store.stat(key).then(Boolean, () => false)) stored.push(key)
        }
        // What was answered with the abort's reason is not there, and does not come later either.
        await new Promise((resolve) => setTimeout(resolve, 500))
        expect(stored).toEqual([])
        const left = await keys()
        for (const key of left) expect((await read(key)).length).toBe(300_000)
      })

      test('aborted when it is over changes nothing', async () => {
        const key = aKey()
        const abort = new AbortController()
        await store.put(key, inMemory(bytesOf(10)), { signal: abort.signal })
        abort.abort()
        expect(await read(key)).toEqual(bytesOf(10))
      })

      test('is invisible until it is whole', async () => {
        const key = aKey()
        const { staged, reached, goOn } = heldHalfway(bytesOf(600_000))
        const put = store.put(key, staged)
        await reached
        expect(await keys()).toEqual([])
        await expect(store.stat(key)).rejects.toThrow(ObjectNotFound)
        await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
        goOn()
        await put
        expect(await keys()).toEqual([key])
      })

      test('refuses a key that exists, and keeps what was there', async () => {
        const key = aKey()
        await store.put(key, inMemory(Buffer.from('first')))
        await expect(store.put(key, inMemory(Buffer.from('second')))).rejects.toThrow(ObjectExists)
        await expect(store.put(key, await stagedFile(bytesOf(600_000)))).rejects.toThrow(ObjectExists)
        expect(String(await read(key))).toBe('first')
      })

      test('of one key by two at once never mixes them', async () => {
        const key = aKey()
        const [first, second] = [bytesOf(300_000), Buffer.alloc(300_000, 1)]
        const puts = await Promise.allSettled([
          store.put(key, asStream(first)),
          store.put(key, asStream(second)),
        ])
        expect(puts.map(({ status }) => status)).toContain('fulfilled')
        const stored = await read(key)
        expect(stored.equals(first) || stored.equals(second)).toBe(true)
      })

      test('works twenty times at once', async () => {
        const objects = Array.from({ length: 20 }, (_, i) => ({ key: aKey(), bytes: bytesOf(100_000 + i) }))
        await Promise.all(
          objects.map(({ key, bytes }, i) => store.put(key, i % 2 ? inMemory(bytes) : asStream(bytes))),
        )
        for (const { key, bytes } of objects) expect(sha256(await read(key))).toBe(sha256(bytes))
      })
    })

    describe('open', () => {
      test('gives ranges, at both edges and across', async () => {
        const key = aKey()
        const bytes = bytesOf(700_000)
        await store.put(key, inMemory(bytes))
        for (const [start, end] of [
          [0, 0],
          [699_999, 699_999],
          [0, 699_999],
          [262_143, 262_144],
          [100, 650_000],
        ] as const) {
          expect((await read(key, { start, end })).equals(bytes.subarray(start, end + 1))).toBe(true)
        }
        const { size, body } = await store.open(key, { range: { start: 5, end: 6 } })
        expect({ size, body: await buffer(body) }).toEqual({ size: 700_000, body: bytes.subarray(5, 7) })
      })

      test('says at once that there is no such object', async () => {
        await expect(store.open(aKey())).rejects.toThrow(ObjectNotFound)
        await expect(store.stat(aKey())).rejects.toThrow(ObjectNotFound)
      })

      test('gives bytes that are the reader’s own', async () => {
        const key = aKey()
        await store.put(key, inMemory(Buffer.from('first')))
        ;(await read(key)).fill(0)
        expect(String(await read(key))).toBe('first')
      })

      test('may be given up in the middle', async () => {
        const key = aKey()
        await store.put(key, inMemory(bytesOf(5 * MiB)))
        const { body } = await store.open(key)
        for await (const chunk of body) {
          expect(chunk.length).toBeGreaterThan(0)
          break
        }
        expect(body.destroyed).toBe(true)
        expect((await read(key)).length).toBe(5 * MiB)
      })

      test('feeds a slow reader every byte', async () => {
        const key = aKey()
        const bytes = bytesOf(2 * MiB)
        await store.put(key, inMemory(bytes))
        const { body } = await store.open(key)
        const chunks: Buffer[] = []
        for await (const chunk of body) {
          await new Promise((resolve) => setTimeout(resolve, 1))
          chunks.push(chunk)
        }
        expect(Buffer.concat(chunks).equals(bytes)).toBe(true)
      })
    })

    describe('delete', () => {
      test('removes an object, and is content if there is none', async () => {
        const key = aKey()
        const other = aKey()
        await store.put(key, inMemory(bytesOf(10)))
        await store.put(other, inMemory(bytesOf(10)))
        await store.delete(key)
        await store.delete(key)
        await expect(store.stat(key)).rejects.toThrow(ObjectNotFound)
        await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
        expect(await keys()).toEqual([other])
      })

      test('at once by two is fine', async () => {
        const key = aKey()
        await store.put(key, inMemory(bytesOf(10)))
        await Promise.all([store.delete(key), store.delete(key)])
        expect(await keys()).toEqual([])
      })

      test('makes room for the key to be put again', async () => {
        const key = aKey()
        await store.put(key, inMemory(Buffer.from('first')))
        await store.delete(key)
        await store.put(key, inMemory(Buffer.from('second')))
        expect(String(await read(key))).toBe('second')
      })
    })

    describe('list', () => {
      test('is in order, the first to expire first and the never-expiring last, with sizes', async () => {
        const expiries = [
          3_000_000_000,
          2_000_000_000,
          Number.POSITIVE_INFINITY,
          2_000_000_001,
          2_000_090_000,
        ]
        const made = expiries.flatMap((expires) => [aKey({ expires }), aKey({ expires })])
        made.push(aKey({ expires: Number.POSITIVE_INFINITY, created: 1_800_000_000 }))
        await Promise.all(made.map((key, i) => store.put(key, inMemory(bytesOf(i)))))
        const listed = await Array.fromAsync(store.list())
        expect(listed).toEqual(
          made.map((key, size) => ({ key, size })).sort((a, b) => (a.key < b.key ? -1 : 1)),
        )
      })

      test('ends below a key, that key excluded', async () => {
        const made = [1, 2, 3, 4].map((i) => aKey({ expires: 2_000_000_000 + i * 600 })).sort()
        for (const key of made) await store.put(key, inMemory(bytesOf(1)))
        for (const [i, key] of made.entries()) {
          expect(await keys(key)).toEqual(made.slice(0, i))
          expect(await keys(key.slice(0, 7))).toEqual(made.slice(0, i))
        }
      })

      test('is only of what starts with a text, whether that is shorter or longer than where the store keeps it', async () => {
        const made = [1, 2, 3].map((i) => aKey({ expires: 2_000_000_000 + i * 90_000 })).sort()
        const [, one = ''] = made
        const sibling = `${one.slice(0, 47)}${one[47] === '0' ? '1' : '0'}${one.slice(48)}`
        for (const key of [...made, sibling]) await store.put(key, inMemory(bytesOf(1)))
        const startingWith = async (text: string, before?: string) =>
          (await Array.fromAsync(store.list({ startingWith: text, ...(before && { before }) }))).map(
            ({ key }) => key,
          )
        expect(await startingWith(one.slice(0, 47))).toEqual([one, sibling].sort())
        expect(await startingWith(one.slice(0, 48))).toEqual([one])
        expect(await startingWith(one)).toEqual([one])
        expect(await startingWith(one.slice(0, 2))).toEqual([...made, sibling].sort())
        expect(await startingWith(one.slice(0, 47), one.slice(0, 47))).toEqual([])
        expect(await startingWith(`${one.slice(0, 47)}!`)).toEqual([])
      })

      test('is of the same with the latest first, in whichever order', async () => {
        const made = [1, 2, 3, 4].map((i) => aKey({ expires: 2_000_000_000 + i * 90_000 })).sort()
        for (const key of made) await store.put(key, inMemory(bytesOf(1)))
        const listed = await Array.fromAsync(store.list({ latestFirst: true, before: made[3] ?? '' }))
        expect(listed.map(({ key }) => key).sort()).toEqual(made.slice(0, 3))
      })

      test('is only of what is wanted, which is asked once for each key; what that throws ends it', async () => {
        const made = [1, 2, 3, 4].map((i) => aKey({ expires: 2_000_000_000 + i * 90_000 })).sort()
        for (const key of made) await store.put(key, inMemory(bytesOf(7)))
        const asked: string[] = []
        const wanted = (key: string) => asked.push(key) % 2 === 0
        const listed = await Array.fromAsync(store.list({ wanted }))
        expect(asked).toEqual(made)
        expect(listed).toEqual([made[1], made[3]].map((key) => ({ key, size: 7 })))
        const enough = () => {
          throw new RangeError('enough')
        }
        await expect(Array.fromAsync(store.list({ wanted: enough }))).rejects.toThrow(RangeError)
      })

      test('goes on past one page', { timeout: 120_000 }, async () => {
        const made = Array.from({ length: 2500 }, (_, i) => aKey({ expires: 2_000_000_000 + (i % 50) * 100 }))
        for (let i = 0; i < made.length; i += 50) {
          await Promise.all(made.slice(i, i + 50).map((key) => store.put(key, inMemory(Buffer.of(1)))))
        }
        expect(await keys()).toEqual(made.sort())
      })

      test('may be left early', async () => {
        for (let i = 0; i < 5; i += 1) await store.put(aKey(), inMemory(bytesOf(1)))
        for await (const { size } of store.list()) {
          expect(size).toBe(1)
          break
        }
        expect(await keys()).toHaveLength(5)
      })

      test('is empty where nothing is', async () => {
        expect(await keys()).toEqual([])
      })
    })

    test('opened again, it has the same objects', async () => {
      if (harness.reopen === undefined) return expect(name).toBe('memory')
      const key = aKey()
      await store.put(key, inMemory(bytesOf(1000)))
      const again = await harness.reopen()
      expect(await Array.fromAsync(again.list())).toEqual([{ key, size: 1000 }])
      expect(await buffer((await again.open(key)).body)).toEqual(bytesOf(1000))
      await again.close()
    })

    test('check resolves while it works', async () => {
      await expect(store.check()).resolves.toBeUndefined()
    })

    test('closing twice is fine', async () => {
      await store.put(aKey(), inMemory(bytesOf(1)))
      const { store: other, close } = await open()
      await other.close()
      await expect(other.close()).resolves.toBeUndefined()
      await close()
    })
  })
}

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

/** Bytes in a file outside the store's own folders, as another store's staging would have them. */
async function stagedFile(bytes: Buffer): Promise<StagedBytes> {
  const folder = await mkdtemp(join(tmpdir(), 'layover-staged-'))
  folders.push(folder)
  const path = join(folder, 'image')
  await writeFile(path, bytes)
  return inFile(path, bytes.length)
}
