import { Readable } from 'node:stream'
import { Registry } from '@prometheus-io/client'
import { expect, test } from 'vitest'
import { sweepMetrics } from '../../src/metrics/sweeps.ts'
import { makeName } from '../../src/name.ts'
import { openMemoryStore } from '../../src/store/memory.ts'
import { type Store, StoreError } from '../../src/store/store.ts'
import { sweep } from '../../src/sweeper.ts'
import { tempSpool } from '../support/temp-folder.ts'

const START = 1_700_000_000

/** Sweeps of a store by a clock that stands still, and may be ahead of the one that the sweeps go by. */
async function measured(store: Store) {
  const folder = await tempSpool()
  const registry = new Registry()
  const clock = { now: START, ahead: 0 }
  const watch = sweepMetrics(registry, () => clock.now * 1000)
  return {
    clock,
    sweep: (from = store) =>
      watch(from, (store) =>
        sweep({ store, spool: folder.spool, now: (clock.now - clock.ahead) * 1000, onError: () => {} }),
      ),
    lag: async () =>
      (await registry.getSingleMetric('layover_sweep_lag_seconds')?.get())?.values.at(0)?.value,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
}

async function put(store: Store, expires: number): Promise<string> {
  const { text } = makeName({
    created: expires - 5,
    expires,
    format: 'png',
    keyId: 'k',
    secret: Buffer.alloc(32),
  })
  const bytes = Buffer.from('0123456789')
  await store.put(text, { size: 10, bytes, open: () => Readable.from([bytes]) })
  return text
}

test('the lag of sweeps that succeed is the time since the last', async () => {
  const store = openMemoryStore()
  await using sweeps = await measured(store)
  await put(store, START - 10)
  await sweeps.sweep()
  expect(await sweeps.lag()).toBe(0)
  sweeps.clock.now += 40
  expect(await sweeps.lag()).toBe(40)
})

test('images that expired while no server ran are overdue while they are being swept', async () => {
  const store = openMemoryStore()
  await using sweeps = await measured(store)
  await put(store, START - 3600)
  const during: (number | undefined)[] = []
  await sweeps.sweep({
    ...store,
    async delete(key) {
      during.push(await sweeps.lag())
      await store.delete(key)
    },
  })
  expect(during).toEqual([3600])
  expect(await sweeps.lag()).toBe(0)
})

test.each(['one by one', 'many at once'])(
  'an image that cannot be deleted (%s) makes the lag grow',
  async (way) => {
    const store = openMemoryStore()
    await using sweeps = await measured(store)
    const stuck = await put(store, START - 100)
    await put(store, START - 200)
    const refuse = async (key: string) =>
      key === stuck ? Promise.reject(new StoreError('busy')) : store.delete(key)
    const failing: Store = {
      ...store,
      delete: refuse,
      ...(way === 'many at once' && {
        deleteMany: async (keys: readonly string[]) => {
          for (const key of keys) if (key !== stuck) await store.delete(key)
          return [{ key: stuck, error: new StoreError('busy') }]
        },
      }),
    }
    await sweeps.sweep(failing)
    expect(await sweeps.lag()).toBe(100)
    sweeps.clock.now += 60
    await sweeps.sweep(failing)
    expect(await sweeps.lag()).toBe(160)
    await sweeps.sweep()
    expect(await sweeps.lag()).toBe(0)
  },
)

test('what a sweep leaves because it does not believe the clock is overdue', async () => {
  const store = openMemoryStore()
  await using sweeps = await measured(store)
  await sweeps.sweep()
  await put(store, START + 1)
  Object.assign(sweeps.clock, { now: START + 86_400, ahead: 86_400 })
  await sweeps.sweep()
  // It may have expired one second after the time that was swept by.
  expect(await sweeps.lag()).toBe(86_399)
  sweeps.clock.now += 60
  await sweeps.sweep()
  expect(await sweeps.lag()).toBe(86_399)
  // The clock is believed.
  sweeps.clock.ahead = 0
  await sweeps.sweep()
  expect(await sweeps.lag()).toBe(0)
})

test('while the store cannot be listed, the lag grows from the last sweep on', async () => {
  const store = openMemoryStore()
  await using sweeps = await measured(store)
  await sweeps.sweep()
  sweeps.clock.now += 300
  const broken: Store = {
    ...store,
    // biome-ignore lint/correctness/useYield: it fails before it finds anything
    async *list() {
      throw new StoreError('down')
    },
  }
  await expect(sweeps.sweep(broken)).rejects.toThrow('down')
  expect(await sweeps.lag()).toBe(300)
})

test('a server that does not sweep has no lag to tell', async () => {
  await using sweeps = await measured(openMemoryStore())
  expect(await sweeps.lag()).toBeNaN()
})
