import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DAYS_KEPT, MOST_KEPT, type ReceiptStore } from '../../src/receipts/receipts.ts'
import { newName, receiptOf } from '../support/receipts.ts'

/** One kind of store, as the suite needs it. Everything is made anew for each test. */
export interface Harness {
  /** Opens the same state once more, as another process would; each is closed with the harness. */
  readonly open: () => Promise<ReceiptStore>
  /** All that is kept, as whoever gets hold of it can read it. */
  readonly dump: () => Promise<string>
  /** Until when all is kept, in Unix ms, of each image that something is kept of. */
  readonly ends: () => Promise<number[]>
  readonly close: () => Promise<void>
}

const DAY = 86_400_000
const NOTHING = { total: 0, latest: [] }

/** The contract of `src/receipts/receipts.ts` as tests, which both kinds pass. */
export function receiptsContract(name: string, open: () => Promise<Harness>): void {
  describe(`the receipts contract: ${name}`, () => {
    let harness: Harness
    let store: ReceiptStore
    let other: ReceiptStore
    const image = newName()

    beforeEach(async () => {
      harness = await open()
      store = await harness.open()
      other = await harness.open()
    })
    afterEach(() => harness.close())

    test('of an image that nobody fetched there are none', async () => {
      expect(await store.read(image)).toEqual(NOTHING)
    })

    test('all that a receipt says is kept, for every process, the newest first', async () => {
      const first = receiptOf({ fetcher: 'head-first', method: 'HEAD', bytes: 0, status: 304 })
      const second = receiptOf({ network: 'ffff:ffff:ffff::/48', bytes: 20 * 1024 ** 2, ms: 299_999 })
      const third = receiptOf({ fetcher: 'other', complete: false, network: 'unknown', status: 416 })
      await store.add([{ name: image, count: 2, latest: [first, second] }])
      await other.add([{ name: image, count: 1, latest: [third] }])
      expect(await store.read(image)).toEqual({ total: 3, latest: [third, second, first] })
      expect(await other.read(image)).toEqual(await store.read(image))
    })

    test('each image has its own', async () => {
      const neighbour = newName()
      await store.add([
        { name: image, count: 1, latest: [receiptOf({ ms: 1 })] },
        { name: neighbour, count: 1, latest: [receiptOf({ ms: 2 })] },
      ])
      expect((await store.read(image)).latest.map(({ ms }) => ms)).toEqual([1])
      expect((await store.read(neighbour)).latest.map(({ ms }) => ms)).toEqual([2])
    })

    test('the last ones are kept, and the number of all', async () => {
      for (let ms = 0; ms < 250; ms += 50) {
        const latest = Array.from({ length: 50 }, (_, i) => receiptOf({ ms: ms + i }))
        await store.add([{ name: image, count: 1000, latest }])
      }
      const { total, latest } = await store.read(image)
      expect(total).toBe(5000)
      expect(latest.map(({ ms }) => ms)).toEqual(Array.from({ length: MOST_KEPT }, (_, i) => 249 - i))
    })

    test('what is forgotten is gone, and stays so though another process is late', async () => {
      const neighbour = newName()
      const batches = [image, neighbour].map((name) => ({ name, count: 1, latest: [receiptOf()] }))
      await store.add(batches)
      await store.forget([image], Date.now())
      await other.add(batches)
      expect(await store.read(image)).toEqual(NOTHING)
      expect((await other.read(neighbour)).total).toBe(2)
    })

    test('what is kept does not tell the name, which is all that it takes to fetch the image', async () => {
      await store.add([{ name: image, count: 1, latest: [receiptOf()] }])
      expect(await harness.dump()).toContain('openai')
      expect(await harness.dump()).not.toContain(image.text.slice(15, 40))
    })

    test('nothing is kept longer than the image lives, nor than thirty days from its last fetch', async () => {
      const [short, forever, deleted] = [newName(60), newName(Number.POSITIVE_INFINITY), newName(2 * 86_400)]
      const at = Date.now()
      await store.add([{ name: short, count: 1, latest: [receiptOf({ at })] }])
      expect(await harness.ends()).toEqual([short.expires * 1000])
      await store.add([{ name: forever, count: 1, latest: [receiptOf({ at: at - DAY })] }])
      await store.add([{ name: forever, count: 1, latest: [receiptOf({ at })] }])
      await store.forget([deleted], at)
      expect(await harness.ends()).toEqual([short.expires * 1000, at + DAY, at + DAYS_KEPT * DAY])
      await store.purge(at + DAYS_KEPT * DAY - 1)
      await store.purge(at + DAYS_KEPT * DAY)
    })

    test('an image that has expired leaves nothing', async () => {
      const past = newName(60, Date.now() - 120_000)
      await store.add([{ name: past, count: 1, latest: [receiptOf()] }])
      await store.purge(Date.now())
      expect(await store.read(past)).toEqual(NOTHING)
      expect(await harness.ends()).toEqual([])
    })

    test('closing twice is fine', async () => {
      await store.close()
      await store.close()
      await expect(store.read(image)).rejects.toThrow()
    })
  })
}
