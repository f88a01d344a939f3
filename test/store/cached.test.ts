import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openSpool } from '../../src/spool.ts'
import { type CachedStore, cachedStore } from '../../src/store/cached.ts'
import { openLocalStore } from '../../src/store/local.ts'
import { openMemoryStore } from '../../src/store/memory.ts'
import { ObjectNotFound, type Store, StoreError } from '../../src/store/store.ts'
import { linkWitness, storeWitness } from '../../src/store/witness.ts'
import { aKey, bytesOf, inMemory } from '../support/staged.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { storeContract } from './contract.ts'

const MiB = 1024 ** 2
const MINUTE = 60_000

/** A store that reads all it is asked for into its cache at once, as the contract asks for most things once. */
function eager(store: CachedStore): Store {
  return {
    ...store,
    async open(key, options) {
      for (let i = 0; i < 2; i += 1) await buffer((await store.open(key)).body)
      return store.open(key, options)
    },
  }
}

async function openLocal(dir: string): Promise<CachedStore> {
  const spool = await openSpool({ dir: join(dir, 'tmp'), minFree: 0, maxAge: 3600 })
  const store = await openLocalStore({ root: join(dir, 'images'), spool })
  return cachedStore(store, { size: 64 * MiB, witness: storeWitness(store.mark ?? (() => undefined)) })
}

storeContract('local disk, cached', async () => {
  const folder = await tempFolder()
  const store = await openLocal(folder.path)
  return {
    store: eager(store),
    reopen: () => openLocal(folder.path),
    leftovers: async () => {
      const held = (await Array.fromAsync(store.list())).length
      const files = await readdir(folder.path, { recursive: true, withFileTypes: true })
      return files
        .filter((file) => file.isFile())
        .map(({ name }) => name)
        .slice(held)
    },
    async close() {
      await store.close()
      await folder[Symbol.asyncDispose]()
    },
  }
})

storeContract('memory', async () => {
  const folder = await tempFolder()
  const witness = linkWitness(join(folder.path, 'cached'))
  const store = cachedStore(openMemoryStore(), { size: 64 * MiB, witness })
  return {
    store: eager(store),
    leftovers: () => readdir(join(folder.path, 'cached')),
    async close() {
      await store.close()
      await folder[Symbol.asyncDispose]()
    },
  }
})

describe('a cache', () => {
  let folder: TempFolder
  let bucket: Store
  /** How often whole objects were asked of the bucket. */
  let reads: number
  /** What the next reads wait for, if anything. */
  let gate: Promise<void> | undefined
  let time: number

  beforeEach(async () => {
    folder = await tempFolder()
    bucket = openMemoryStore()
    reads = 0
    gate = undefined
    time = 0
  })
  afterEach(() => folder[Symbol.asyncDispose]())

  /** A process of a machine. */
  function open({ machine = 'one', size = MiB } = {}): CachedStore {
    const counted: Store = {
      ...bucket,
      delete: (key) => bucket.delete(key),
      async open(key, options) {
        reads += 1
        const opened = await bucket.open(key, options)
        const wait = gate
        if (wait === undefined) return opened
        const body = new PassThrough()
        void wait.then(
          () => opened.body.pipe(body),
          (error) => body.destroy(error),
        )
        return { size: opened.size, body }
      },
    }
    return cachedStore(counted, {
      size,
      witness: linkWitness(join(folder.path, machine), { now: () => time }),
    })
  }

  async function stored(bytes = bytesOf(1000)): Promise<string> {
    const key = aKey()
    await bucket.put(key, inMemory(bytes))
    return key
  }
  function holds(store: Store, key: string): boolean {
    const held = store.atHand?.(key)
    held?.done(true)
    return held !== undefined
  }
  const read = async (store: Store, key: string) => buffer((await store.open(key)).body)
  async function keep(store: CachedStore, key: string): Promise<void> {
    await read(store, key)
    await read(store, key)
    expect(holds(store, key)).toBe(true)
  }

  test('holds what is asked for a second time, and gives it and parts of it without another read', async () => {
    const store = open()
    const key = await stored()
    await read(store, key)
    expect(holds(store, key)).toBe(false)
    await read(store, key)
    expect(reads).toBe(2)
    const { size, bytes, body } = await store.open(key, { range: { start: 2, end: 999 } })
    expect({ size, bytes }).toEqual({ size: 1000, bytes: bytesOf(1000).subarray(2) })
    expect(await buffer(body)).toEqual(bytesOf(1000).subarray(2))
    expect(await store.stat(key)).toEqual({ size: 1000 })
    expect(store.atHand?.(key)?.bytes).toEqual(bytesOf(1000))
    expect(reads).toBe(2)
    expect(store.facts()).toMatchObject({ hits: 1, misses: 2 })
  })

  test('reads an image once for all who ask for it at the same time', async () => {
    const store = open()
    const key = await stored()
    await read(store, key)
    const all = await Promise.all(Array.from({ length: 20 }, () => read(store, key)))
    expect(all.every((bytes) => bytes.equals(bytesOf(1000)))).toBe(true)
    expect(reads).toBe(2)
  })

  test('does not remember that something is not there', async () => {
    const store = open()
    const key = aKey()
    for (let i = 0; i < 3; i += 1) await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
    await bucket.put(key, inMemory(bytesOf(10)))
    expect(await read(store, key)).toEqual(bytesOf(10))
  })

  test('holds nothing of a read that fails half-way', async () => {
    const store = open()
    const key = await stored()
    await read(store, key)
    gate = Promise.reject(new StoreError('broken off'))
    await expect(store.open(key)).rejects.toThrow('broken off')
    gate = undefined
    expect(store.facts().bytes).toBe(0)
    expect(await read(store, key)).toEqual(bytesOf(1000))
  })

  describe.each([
    { where: 'the same process', machine: undefined },
    { where: 'another process of the machine', machine: 'one' },
  ])('after a delete by $where', ({ machine }) => {
    const deleter = (store: CachedStore) => (machine === undefined ? store : open({ machine }))

    test('gives out nothing', async () => {
      const store = open()
      const other = deleter(store)
      const key = await stored()
      await keep(store, key)
      await other.delete(key)
      expect(holds(store, key)).toBe(false)
      await expect(store.stat(key)).rejects.toThrow(ObjectNotFound)
      await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
      expect(store.facts().bytes).toBe(0)
    })

    test('of many at once gives out none of them', async () => {
      const one = bucket.delete
      bucket.deleteMany = async (keys) => {
        for (const key of keys) await one(key)
        return []
      }
      const store = open()
      const other = deleter(store)
      const keys = [await stored(), await stored()]
      for (const key of keys) await keep(store, key)
      await other.deleteMany?.(keys)
      for (const key of keys) await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
    })

    test('that came while it was being read gives it to nobody who asks later', async () => {
      const store = open()
      const other = deleter(store)
      const key = await stored()
      await read(store, key)
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      const before = read(store, key)
      // The bucket has given its answer, and its bytes are on their way.
      await new Promise(setImmediate)
      await other.delete(key)
      await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
      resolve()
      expect(await before).toEqual(bytesOf(1000))
      await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
      expect(holds(store, key)).toBe(false)
    })

    test('that failed asks the bucket again', async () => {
      const store = open()
      const key = await stored()
      await keep(store, key)
      bucket.delete = async () => {
        throw new StoreError('it may be gone or not')
      }
      await expect(deleter(store).delete(key)).rejects.toThrow(StoreError)
      const before = reads
      await read(store, key)
      expect(reads).toBe(before + 1)
    })
  })

  test('of another machine gives out a deleted image for a minute after it was read, and no longer', async () => {
    const store = open()
    const other = open({ machine: 'two' })
    const key = await stored()
    await read(store, key)
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = promise
    const reading = read(store, key)
    // The minute is that since the reading began.
    time += MINUTE / 2
    resolve()
    await reading
    gate = undefined
    await other.delete(key)
    time += MINUTE / 2 - 1
    expect(holds(store, key)).toBe(true)
    time += 1
    expect(holds(store, key)).toBe(false)
    await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
  })

  test('reads anew after a minute, and does not end what others have read since', async () => {
    const [one, two] = [open(), open()]
    const key = await stored()
    await keep(one, key)
    await keep(two, key)
    time += MINUTE
    await read(one, key)
    await read(two, key)
    for (const store of [one, two, one, two]) expect(holds(store, key)).toBe(true)
  })

  test('does not answer a delete that others cannot be told of', async () => {
    const store = open()
    const key = await stored()
    await mkdir(join(folder.path, 'one', key, 'in-the-way'), { recursive: true })
    await expect(store.delete(key)).rejects.toThrow(StoreError)
    await rm(join(folder.path, 'one', key), { recursive: true })
    await store.delete(key)
  })

  test('leaves no links behind when it closes, nor those of a process that was killed', async () => {
    const links = () => readdir(join(folder.path, 'one'))
    const store = open()
    const key = await stored()
    await keep(store, key)
    expect(await links()).toEqual([key])
    const after = open()
    expect(await links()).toEqual([])
    await keep(after, key)
    await after.close()
    expect(await links()).toEqual([])
  })

  describe('is bounded:', () => {
    test('what is asked for once leaves what is asked for again', async () => {
      const store = open()
      const key = await stored()
      await keep(store, key)
      for (let i = 0; i < 30; i += 1) await read(store, await stored(bytesOf(100_000)))
      expect(holds(store, key)).toBe(true)
    })

    test('the oldest go when there are too many, and with them what is remembered of them', async () => {
      const store = open()
      const keys: string[] = []
      for (let i = 0; i < 30; i += 1) {
        const key = await stored(bytesOf(100_000))
        keys.push(key)
        await keep(store, key)
        expect(store.facts().bytes).toBeLessThanOrEqual(MiB)
      }
      expect(keys.filter((key) => holds(store, key))).toEqual(keys.slice(-10))
      expect(await readdir(join(folder.path, 'one'))).toHaveLength(10)
    })

    test('nothing is held that is large', async () => {
      const store = open()
      const key = await stored(bytesOf(MiB / 8 + 1))
      for (let i = 0; i < 4; i += 1) expect(await read(store, key)).toHaveLength(MiB / 8 + 1)
      expect(reads).toBe(4)
    })

    test('slow readers of what is no longer held are as many as fit in half of it, and the others get a stream', async () => {
      const store = open()
      const slow = []
      let streams = 0
      for (let i = 0; i < 60; i += 1) {
        const key = await stored(bytesOf(100_000))
        await read(store, key)
        const opened = await store.open(key)
        if (opened.bytes) slow.push(opened)
        else streams += 1
      }
      // Ten that are held, and five that are not but one that was let in before the tenth had to go.
      expect(slow.length).toBeLessThanOrEqual(16)
      expect(streams).toBe(60 - slow.length)
      for (const { done } of slow) done?.(true)
      const key = await stored(bytesOf(100_000))
      await keep(store, key)
    })
  })
})
