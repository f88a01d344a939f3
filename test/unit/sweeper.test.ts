import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { makeName } from '../../src/name.ts'
import { openMemoryStore } from '../../src/store/memory.ts'
import { type Store, StoreError } from '../../src/store/store.ts'
import { type SweepOptions, sweep } from '../../src/sweeper.ts'
import { tempSpool } from '../support/temp-folder.ts'

const NOW = 1_700_000_000

/** The name of an image that expires so many seconds from now. */
const expiringIn = (seconds: number) =>
  makeName({
    created: NOW - 100_000,
    expires: NOW + seconds,
    format: 'png',
    keyId: 'k',
    secret: Buffer.alloc(32),
  }).text

async function put(store: Store, ...keys: string[]): Promise<void> {
  const bytes = Buffer.from('0123456789')
  for (const key of keys) await store.put(key, { size: 10, bytes, open: () => Readable.from([bytes]) })
}

async function keysOf(store: Store): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list()) keys.push(key)
  return keys
}

async function sweepOnce(store: Store, options: Partial<SweepOptions> = {}) {
  await using folder = await tempSpool()
  const errors: unknown[] = []
  const onError = (error: unknown) => errors.push(error)
  const result = await sweep({ store, spool: folder.spool, now: NOW * 1000, onError, ...options })
  return { ...result, errors }
}

test('a sweep deletes what has expired and nothing else', async () => {
  const store = openMemoryStore()
  const expired = [expiringIn(0), expiringIn(-1), expiringIn(-100_000)]
  const alive = [expiringIn(1), expiringIn(1000), expiringIn(Number.POSITIVE_INFINITY)]
  await put(store, ...expired, ...alive)

  expect(await sweepOnce(store)).toEqual({
    deleted: 3,
    bytes: 30,
    failed: 0,
    leftovers: 0,
    tempFiles: 0,
    errors: [],
  })
  expect(await keysOf(store)).toEqual(alive)
  expect(await sweepOnce(store)).toMatchObject({ deleted: 0, bytes: 0 })
})

test('the oldest go first, however many there are', async () => {
  const memory = openMemoryStore()
  await put(memory, ...Array.from({ length: 100 }, (_, index) => expiringIn(-((index * 37) % 100))))
  const inOrder = await keysOf(memory)
  const deleted: string[] = []
  const store = { ...memory, delete: async (key: string) => void deleted.push(key) }

  expect(await sweepOnce(store)).toMatchObject({ deleted: 100 })
  expect(deleted).toEqual(inOrder)
})

test('files that somebody else put there stay', async () => {
  const store = openMemoryStore()
  // The last is a name of an early version, whose owner mark had seven characters.
  const old = `${expiringIn(-5).slice(0, 48)}.png`
  const foreign = ['0000000', '0README.md', `${'0'.repeat(53)}.png`, `${expiringIn(-5)}.bak`, old]
  await put(store, ...foreign, expiringIn(-1))

  expect(await sweepOnce(store)).toMatchObject({ deleted: 1, failed: 0 })
  expect(await keysOf(store)).toEqual(foreign.sort())
})

test('a delete that fails is counted and told, and the others go on', async () => {
  const memory = openMemoryStore()
  const stuck = expiringIn(-50)
  await put(memory, stuck, ...Array.from({ length: 20 }, (_, index) => expiringIn(-2 * index)))
  const failure = new StoreError('busy')
  const store: Store = {
    ...memory,
    delete: async (key) => (key === stuck ? Promise.reject(failure) : memory.delete(key)),
  }

  expect(await sweepOnce(store)).toMatchObject({ deleted: 20, bytes: 200, failed: 1, errors: [failure] })
  expect(await keysOf(memory)).toEqual([stuck])
  expect(await sweepOnce(memory)).toMatchObject({ deleted: 1, failed: 0 })
})

test('two sweeps at once leave nothing that has expired, and neither fails', async () => {
  const store = openMemoryStore()
  const alive = expiringIn(10)
  await put(store, alive, ...Array.from({ length: 50 }, (_, index) => expiringIn(-index)))

  const results = await Promise.all([sweepOnce(store), sweepOnce(store)])
  expect(results.map(({ failed, errors }) => ({ failed, errors }))).toEqual([
    { failed: 0, errors: [] },
    { failed: 0, errors: [] },
  ])
  expect(await keysOf(store)).toEqual([alive])
})

test('a listing that breaks off is a failed sweep, not a finished one', async () => {
  const memory = openMemoryStore()
  await put(memory, expiringIn(-1))
  const failure = new StoreError('page 2 did not come')
  const store: Store = {
    ...memory,
    async *list(options) {
      yield* memory.list(options)
      throw failure
    },
  }
  await expect(sweepOnce(store)).rejects.toBe(failure)
})

test('a stopping server does not wait for the sweep to be through', async () => {
  const memory = openMemoryStore()
  await put(memory, ...Array.from({ length: 100 }, (_, index) => expiringIn(-index)))
  const stopping = new AbortController()
  const store: Store = {
    ...memory,
    async delete(key) {
      stopping.abort()
      await memory.delete(key)
    },
  }

  const { deleted } = await sweepOnce(store, { signal: stopping.signal })
  // Those that were under way when the signal came are finished.
  expect(deleted).toBeGreaterThan(0)
  expect(deleted).toBeLessThan(20)
  expect(await keysOf(memory)).toHaveLength(100 - deleted)
})

test('stale temp files go too', async () => {
  await using folder = await tempSpool()
  // Another machine's, on a shared folder.
  await writeFile(join(folder.path, `00000000-1-${'a'.repeat(32)}.part`), '')
  const muchLater = Date.now() + 1e9

  const result = await sweepOnce(openMemoryStore(), { spool: folder.spool, now: muchLater })
  expect(result).toMatchObject({ tempFiles: 1 })
  expect(await folder.names()).toEqual([])
})

test('a store that deletes many at once gets a thousand at a time, and what it could not delete is counted', async () => {
  const memory = openMemoryStore()
  const keys = Array.from({ length: 2500 }, (_, i) => expiringIn(-1 - i)).sort()
  await put(memory, ...keys)
  const calls: number[] = []
  const stuck = [keys[0] ?? '', keys[2000] ?? '']
  const store: Store = {
    ...memory,
    delete: () => expect.unreachable('one by one'),
    async deleteMany(batch) {
      calls.push(batch.length)
      for (const key of batch) if (!stuck.includes(key)) await memory.delete(key)
      return batch
        .filter((key) => stuck.includes(key))
        .map((key) => ({ key, error: new StoreError('stuck') }))
    },
  }
  const { errors, ...result } = await sweepOnce(store)
  expect(result).toEqual({ deleted: 2498, bytes: 24_980, failed: 2, leftovers: 0, tempFiles: 0 })
  expect(errors).toHaveLength(2)
  expect(calls).toEqual([1000, 1000, 500])
  expect(await keysOf(memory)).toEqual(stuck)
})

test('what a list has shown before it fails is deleted all the same, and the failure reported', async () => {
  const memory = openMemoryStore()
  const keys = [expiringIn(-3), expiringIn(-2)].sort()
  await put(memory, ...keys)
  const store: Store = {
    ...memory,
    async *list(options) {
      yield* memory.list(options)
      throw new StoreError('the second page failed')
    },
    deleteMany: async (batch) => {
      for (const key of batch) await memory.delete(key)
      return []
    },
  }
  await expect(sweepOnce(store)).rejects.toThrow('the second page failed')
  expect(await keysOf(memory)).toEqual([])
})
