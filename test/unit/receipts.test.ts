import { describe, expect, test, vi } from 'vitest'
import { collectReceipts, MOST_WAITING } from '../../src/receipts/collector.ts'
import { networkOf } from '../../src/receipts/network-of.ts'
import type { Batch, ReceiptStore } from '../../src/receipts/receipts.ts'
import { decode, encode } from '../../src/receipts/record.ts'
import { FETCHER_IDS, FETCHERS, fetcherOf } from '../../src/vision/fetchers.ts'
import { newName, receiptOf } from '../support/receipts.ts'

describe('of an address', () => {
  test.each([
    ['203.0.113.77', '203.0.113.0/24'],
    ['::ffff:203.0.113.77', '203.0.113.0/24'],
    ['::ffff:cb00:714d', '203.0.113.0/24'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1::/48'],
    ['2001:db8::6', '2001:db8::/48'],
    ['fe80::1%eth0', 'fe80::/48'],
    ['::1', '::/48'],
    [undefined, 'unknown'],
    ['', 'unknown'],
    ['unknown', 'unknown'],
    ['203.0.113.77, 10.0.0.1', 'unknown'],
  ])('%s only %s is kept', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})

describe('a fetcher', () => {
  test('is known by what it calls itself', () => {
    for (const { agent, pattern, id } of FETCHERS)
      expect({ id, known: fetcherOf(agent) }).toEqual({ id, known: pattern === undefined ? 'other' : id })
  })

  test.each([
    ['RunwayML API/2.7 (asset fetcher)', 'runway'],
    ['vLLM/0.9.1.dev12', 'vllm'],
    ['Python/3.12 aiohttp/3.11.11', 'python'],
    ['Go-http-client/2.0', 'go'],
    ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0', 'other'],
    ['curl/8.5.0', 'other'],
    ['', 'other'],
    [undefined, 'other'],
  ])('%s is %s', (agent, id) => {
    expect(fetcherOf(agent)).toBe(id)
  })

  test('has an id that fits into what is kept', () => {
    expect(FETCHER_IDS.filter((id) => !/^[a-z][a-z0-9-]{1,11}$/.test(id))).toEqual([])
    expect(new Set(FETCHERS.map(({ id }) => id)).size).toBe(FETCHERS.length)
  })
})

test('the longest receipt is read as it was written', () => {
  const receipt = receiptOf({
    at: 8.64e15 / 1000,
    method: 'HEAD',
    fetcher: 'x'.repeat(12),
    network: 'ffff:ffff:ffff::/48',
    bytes: 1024 ** 3,
    ms: 999_999_999,
  })
  expect(decode(encode([receipt, receiptOf({ at: 1 })]))).toEqual([receiptOf({ at: 1 }), receipt])
})

/** A store in memory that can be made to fail, and what it was told. */
function storeForTests() {
  const told = { added: [] as Batch[], forgotten: [] as string[], failing: false, calls: 0 }
  const answer = async <T>(value: T) => {
    told.calls += 1
    if (told.failing) throw new Error('it is locked')
    return value
  }
  const store: ReceiptStore = {
    add: async (batches) => void told.added.push(...(await answer(batches))),
    forget: async (names) => void told.forgotten.push(...(await answer(names)).map(({ text }) => text)),
    read: async () => answer({ total: 0, latest: [] }),
    purge: async () => {},
    close: async () => {},
  }
  const said: string[] = []
  const receipts = collectReceipts(store, {
    onTrouble: (error) => void said.push(String((error as Error).message)),
    onEnd: (dropped) => void said.push(`well again, ${dropped} dropped`),
    now: Date.now,
  })
  return { told, said, receipts }
}

describe('receipts', () => {
  test('are gathered, and handed over together', async () => {
    vi.useFakeTimers()
    const { told, receipts } = storeForTests()
    const [first, second] = [newName(), newName()]
    for (let ms = 0; ms < 3; ms += 1) receipts.note(first, receiptOf({ ms }))
    receipts.note(second, receiptOf())
    expect(told.calls).toBe(0)
    await vi.advanceTimersByTimeAsync(1000)
    vi.useRealTimers()
    expect(told.calls).toBe(1)
    expect(told.added.map(({ name, count }) => [name.text, count])).toEqual([
      [first.text, 3],
      [second.text, 1],
    ])
    expect(told.added[0]?.latest.map(({ ms }) => ms)).toEqual([0, 1, 2])
  })

  test('of one image are a hundred at most, and are counted all', async () => {
    const { told, receipts } = storeForTests()
    const name = newName()
    for (let ms = 0; ms < 100_000; ms += 1) receipts.note(name, receiptOf({ ms }))
    await receipts.close()
    expect(told.added).toHaveLength(1)
    expect(told.added[0]).toMatchObject({ count: 100_000 })
    expect(told.added[0]?.latest.map(({ ms }) => ms)).toEqual(
      Array.from({ length: 100 }, (_, i) => 99_900 + i),
    )
  })

  test('wait while they cannot be kept, which is said once, and are kept in their order', async () => {
    const { told, said, receipts } = storeForTests()
    const name = newName()
    told.failing = true
    for (let ms = 0; ms < 3; ms += 1) {
      receipts.note(name, receiptOf({ ms }))
      await receipts.read(name).catch(() => {})
    }
    expect(said).toEqual(['it is locked'])
    told.failing = false
    await receipts.read(name)
    expect(told.added.map(({ count, latest }) => [count, latest.map(({ ms }) => ms)])).toEqual([
      [3, [0, 1, 2]],
    ])
    expect(said).toEqual(['it is locked', 'well again, 0 dropped'])
    await receipts.close()
  })

  test('are bounded, however long they have to wait, and the oldest go first', async () => {
    const { told, said, receipts } = storeForTests()
    told.failing = true
    const names = Array.from({ length: MOST_WAITING + 500 }, () => newName())
    for (const [i, name] of names.entries()) {
      receipts.note(name, receiptOf())
      if (i % 5000 === 0) await receipts.read(name).catch(() => {})
    }
    told.failing = false
    await receipts.close()
    expect(told.added).toHaveLength(MOST_WAITING)
    expect(told.added[0]?.name).toBe(names[500])
    expect(said).toEqual(['it is locked', 'well again, 500 dropped'])
  })

  test('of a deleted image are not handed over, and it is forgotten once that can be done', async () => {
    const { told, receipts } = storeForTests()
    const [name, other] = [newName(), newName()]
    told.failing = true
    receipts.note(name, receiptOf())
    receipts.note(other, receiptOf())
    await receipts.forget(name)
    expect(told.forgotten).toEqual([])
    told.failing = false
    await receipts.close()
    expect(told.forgotten).toEqual([name.text])
    expect(told.added.map(({ name }) => name.text)).toEqual([other.text])
  })
})
