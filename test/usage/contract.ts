import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Reservation, type ReserveRequest, type Usage, UsageError } from '../../src/usage/usage.ts'
import { usageModel } from './model.ts'

/** One kind of usage, as the suite needs it. Everything is made anew for each test. */
export interface Harness {
  /** Opens the same state once more, as another process would; each is closed with the harness. */
  readonly open: () => Promise<Usage>
  /** Fails if anything is left that should not be, and removes the rest. */
  readonly close: () => Promise<void>
}

const MB = 1024 ** 2
const HOUR = 3600
/** Seconds of a slot, for a window of a day. */
const SLOT = 300
/** The start of a slot and of a minute, whatever the window. */
const NOON = Date.UTC(2027, 0, 1, 12)
const LIMIT = 200 * MB

const request: ReserveRequest = {
  ...{ key: 'anna', bytes: 10 * MB, limit: LIMIT, window: 24 * HOUR, hold: 60, now: NOON },
}

/** The contract of `src/usage/usage.ts` as tests, which both kinds pass. */
export function usageContract(name: string, open: () => Promise<Harness>): void {
  describe(`the usage contract: ${name}`, () => {
    let harness: Harness
    let usage: Usage

    beforeEach(async () => {
      harness = await open()
      usage = await harness.open()
    })
    afterEach(() => harness.close())

    /** Reserves, and says what came of it in bytes. */
    async function reserve(changes: Partial<ReserveRequest> = {}, by = usage): Promise<Reservation> {
      const answer = await by.reserve({ ...request, ...changes })
      if (!answer.granted) throw new Error(`refused: ${JSON.stringify(answer)}`)
      return answer
    }

    async function use(changes: Partial<ReserveRequest> = {}) {
      await usage.settle(await reserve(changes))
    }

    async function left(changes: Partial<ReserveRequest> = {}): Promise<number> {
      const { key, window, now } = { ...request, ...changes }
      const { used, reserved } = await usage.read({ key, window, now })
      return LIMIT - used - reserved
    }

    const seconds = (count: number) => NOON + count * 1000

    describe('a reservation', () => {
      test('is used when it is settled, and free again when it is released', async () => {
        const key = { key: 'anna', window: request.window, now: NOON }
        expect(await usage.read(key)).toEqual({ used: 0, reserved: 0 })
        const first = await reserve()
        const second = await reserve({ bytes: 5 })
        expect(first).toMatchObject({ granted: true, key: 'anna', bytes: 10 * MB })
        expect(await usage.read(key)).toEqual({ used: 0, reserved: 10 * MB + 5 })
        await usage.settle(first)
        const freeAt = seconds(SLOT + 24 * HOUR)
        expect(await usage.read(key)).toEqual({ used: 10 * MB, reserved: 5, freeAt })
        await usage.release(second)
        expect(await usage.read(key)).toEqual({ used: 10 * MB, reserved: 0, freeAt })
      })

      test('passes to the last byte and not one beyond, and one that is refused takes nothing', async () => {
        await use({ bytes: LIMIT - 10 })
        const pending = await reserve({ bytes: 7 })
        expect(await usage.reserve({ ...request, bytes: 4 })).toEqual({
          granted: false,
          used: LIMIT - 10,
          reserved: 7,
          limit: LIMIT,
          retryAfter: SLOT + 24 * HOUR,
        })
        await reserve({ bytes: 3 })
        expect(await usage.reserve({ ...request, bytes: 1 })).toMatchObject({ granted: false })
        await usage.release(pending)
        await reserve({ bytes: 7 })
        expect(await left()).toBe(0)
      })

      test('of more than the limit never fits, and is told to wait for a window', async () => {
        const answer = await usage.reserve({ ...request, bytes: LIMIT + 1 })
        expect(answer).toEqual({ granted: false, used: 0, reserved: 0, limit: LIMIT, retryAfter: 24 * HOUR })
        await reserve({ bytes: LIMIT })
      })

      test('counts once however often it is settled, and not at all once it is released', async () => {
        const [kept, given] = [await reserve(), await reserve()]
        await Promise.all([usage.settle(kept), usage.settle(kept)])
        await usage.settle(kept)
        await usage.release(kept)
        expect(await left()).toBe(LIMIT - 20 * MB)
        await Promise.all([usage.release(given), usage.release(given)])
        await usage.release(given)
        await usage.settle(given)
        expect(await left()).toBe(LIMIT - 10 * MB)
      })

      test('of one key takes nothing from another', async () => {
        await use({ bytes: LIMIT - 1 })
        await reserve({ bytes: 1 })
        await reserve({ key: 'ben', bytes: LIMIT })
        await reserve({ key: '', bytes: LIMIT })
        await reserve({ key: "anna'; --\0:*", bytes: LIMIT })
        expect(await left({ key: 'carl' })).toBe(LIMIT)
      })

      test('may be of very many bytes, to the last one', async () => {
        const limit = Number.MAX_SAFE_INTEGER
        await use({ limit, bytes: limit - 2 })
        await reserve({ limit, bytes: 1 })
        expect(await usage.reserve({ ...request, limit, bytes: 2 })).toMatchObject({ granted: false })
        expect(await usage.read(request)).toMatchObject({ used: limit - 2, reserved: 1 })
      })

      test('passes no more often than fits, of 50 at once', async () => {
        const answers = await Promise.all(Array.from({ length: 50 }, () => usage.reserve(request)))
        expect(answers.filter(({ granted }) => granted)).toHaveLength(20)
        expect(await left()).toBe(0)
      })

      test('passes no more often than fits, of 50 at once from two sides', async () => {
        const sides = [usage, await harness.open()]
        const answers = await Promise.all(
          Array.from({ length: 50 }, (_, i) => sides[i % 2]?.reserve(request)),
        )
        expect(answers.filter((answer) => answer?.granted)).toHaveLength(20)
        expect(await left()).toBe(0)
      })

      test('may be settled or released by another side', async () => {
        const other = await harness.open()
        const [kept, given] = [await reserve(), await reserve()]
        await other.settle(kept)
        await other.release(given)
        await usage.settle(kept)
        expect(await usage.read(request)).toMatchObject({ used: 10 * MB, reserved: 0 })
      })
    })

    test('a reservation can have an id of its own, by which anybody settles or releases it', async () => {
      const [kept, given] = [await reserve({ id: 'one' }), await reserve({ id: 'another' })]
      expect(kept.id).toBe('one')
      const other = await harness.open()
      await other.release({ granted: true, key: 'anna', id: 'another', bytes: 0 })
      await other.settle({ granted: true, key: 'anna', id: 'one', bytes: 0 })
      await usage.settle(given)
      expect(await usage.read(request)).toMatchObject({ used: 10 * MB, reserved: 0 })
    })

    describe('a reservation that nobody settles', () => {
      test('counts until its hold is over', async () => {
        await reserve({ bytes: LIMIT })
        expect(await left({ now: seconds(60) - 1 })).toBe(0)
        expect(await usage.reserve({ ...request, now: seconds(60) - 1 })).toMatchObject({ granted: false })
        expect(await left({ now: seconds(60) })).toBe(LIMIT)
        await reserve({ bytes: LIMIT, now: seconds(60) })
      })

      test('counts all the same if it is settled in the end, once and from its own time on', async () => {
        const late = await reserve()
        await reserve({ bytes: LIMIT, now: seconds(60) })
        await usage.settle(late)
        await usage.settle(late)
        expect(await left({ now: seconds(2 * SLOT) })).toBe(LIMIT - 10 * MB)
        expect(await left({ now: seconds(24 * HOUR + SLOT) })).toBe(LIMIT)
      })

      test('counts no more if it is settled a window later', async () => {
        const late = await reserve()
        const now = seconds(24 * HOUR + SLOT)
        await reserve({ bytes: 1, now })
        await usage.settle(late)
        expect(await left({ now })).toBe(LIMIT - 1)
      })

      test('counts for all of a hold that is longer than the window', async () => {
        await reserve({ bytes: LIMIT, window: 1, hold: 100 })
        const answer = await usage.reserve({ ...request, window: 1, now: seconds(99) })
        expect(answer).toMatchObject({ granted: false, used: 0, reserved: LIMIT, retryAfter: 1 })
        const early = await usage.reserve({ ...request, window: 1, now: seconds(10) })
        expect(early).toMatchObject({ granted: false, retryAfter: 90 })
        await reserve({ bytes: LIMIT, window: 1, now: seconds(100) })
      })

      test('counts less than a sixtieth of its hold, or a second, longer than that', async () => {
        await reserve({ bytes: LIMIT, hold: HOUR, now: NOON + 1 })
        const early = await usage.reserve({ ...request, hold: HOUR, now: seconds(HOUR + 60) - 1 })
        expect(early).toMatchObject({ granted: false, reserved: LIMIT })
        await reserve({ bytes: LIMIT, now: seconds(HOUR + 60) })
      })

      test('takes nothing out of the sum of a later one whose hold ends with it', async () => {
        const late = await reserve({ bytes: LIMIT })
        // A clock that is ahead: nobody needs to wait for it any more.
        await reserve({ key: 'anna', bytes: 1, now: seconds(60), hold: 1 })
        // And right again.
        const later = await reserve({ bytes: LIMIT - 1 })
        await usage.release(late)
        expect(await left()).toBe(0)
        await usage.release(later)
        expect(await left()).toBe(LIMIT - 1)
      })

      test('of many ends with its own hold, and the sum is right at each moment', async () => {
        const starts = Array.from({ length: 500 }, (_, i) => NOON + 80 * i)
        for (const now of starts) await reserve({ bytes: 1, now })
        for (let now = seconds(50); now <= seconds(101); now += 1000) {
          const counted = starts.filter((start) => Math.ceil(start / 1000) * 1000 + 60_000 > now).length
          expect(await left({ now })).toBe(LIMIT - counted)
          expect(await usage.reserve({ ...request, bytes: LIMIT - counted + 1, now })).toMatchObject({
            granted: false,
          })
          await usage.release(await reserve({ bytes: LIMIT - counted, now }))
        }
      })
    })

    describe('the window', () => {
      test('rolls: bytes are free a window after the slot of their reservation, not of their settlement', async () => {
        const first = await reserve({ bytes: LIMIT - 1, now: seconds(SLOT) - 1 })
        await use({ bytes: 1, now: seconds(SLOT) })
        await usage.settle(first)
        expect(await left({ now: seconds(24 * HOUR + SLOT) - 1 })).toBe(0)
        expect(await left({ now: seconds(24 * HOUR + SLOT) })).toBe(LIMIT - 1)
        expect(await left({ now: seconds(24 * HOUR + 2 * SLOT) })).toBe(LIMIT)
        const now = seconds(24 * HOUR + SLOT)
        expect(await usage.reserve({ ...request, bytes: LIMIT, now })).toMatchObject({ retryAfter: SLOT })
        await reserve({ bytes: LIMIT - 1, now })
      })

      test('says when enough is free, counting what is under way as used', async () => {
        await use({ bytes: 60 * MB })
        await use({ bytes: 60 * MB, now: seconds(HOUR) })
        await reserve({ bytes: 80 * MB, now: seconds(2 * HOUR), hold: HOUR })
        const now = seconds(2 * HOUR) + 1
        for (const [bytes, hours] of [
          [60 * MB, 22],
          [60 * MB + 1, 23],
          [120 * MB + 1, 24],
        ] as const) {
          const answer = await usage.reserve({ ...request, bytes, now })
          expect(answer).toMatchObject({ granted: false, retryAfter: hours * HOUR + SLOT })
        }
      })

      test('of a second works to a second', async () => {
        await use({ bytes: LIMIT, window: 1 })
        const answer = await usage.reserve({ ...request, window: 1, now: NOON + 1999 })
        expect(answer).toMatchObject({ granted: false, retryAfter: 1 })
        await reserve({ bytes: LIMIT, window: 1, now: NOON + 2000 })
      })

      test('may be another than before', async () => {
        await use({ bytes: 10, now: seconds(SLOT) - 1 })
        await use({ bytes: 20, window: HOUR, now: seconds(2 * HOUR) })
        // The first was not met while the window was an hour, or it would be forgotten.
        await use({ key: 'ben', window: HOUR })
        const now = seconds(24 * HOUR)
        expect(await left({ window: 48 * HOUR, now })).toBe(LIMIT - 20)
        await use({ bytes: 30, now })
        expect(await left({ now })).toBe(LIMIT - 50)
        expect(await left({ now, window: HOUR })).toBe(LIMIT - 30)
        expect(await left({ key: 'ben', now: seconds(24 * HOUR) })).toBe(LIMIT - 10 * MB)
      })

      test('frees nothing early when the clock jumps back', async () => {
        await use({ bytes: LIMIT - 10 * MB })
        await reserve()
        const now = seconds(-3 * HOUR)
        expect(await left({ now })).toBe(0)
        const answer = await usage.reserve({ ...request, now })
        expect(answer).toMatchObject({ granted: false, retryAfter: 27 * HOUR + SLOT })
        expect(await left()).toBe(0)
      })

      test('goes on from there when the clock jumps ahead', async () => {
        await use({ bytes: LIMIT })
        const now = seconds(100 * 24 * HOUR)
        await use({ bytes: LIMIT, now })
        expect(await usage.reserve({ ...request, now })).toMatchObject({ granted: false })
        // And back: what was used in the future stays used.
        expect(await usage.reserve(request)).toMatchObject({ granted: false })
      })
    })

    test('stays as it was through closing and opening', async () => {
      await use()
      const pending = await reserve()
      await usage.count({ name: 'anna', window: 60_000, now: NOON })
      await usage.close()
      usage = await harness.open()
      expect(await usage.read(request)).toMatchObject({ used: 10 * MB, reserved: 10 * MB })
      await usage.settle(pending)
      expect(await usage.read(request)).toMatchObject({ used: 20 * MB, reserved: 0 })
      expect(await usage.count({ name: 'anna', window: 60_000, now: NOON })).toMatchObject({ count: 2 })
    })

    test('any sequence comes out as when every upload is remembered', { timeout: 120_000 }, async () => {
      await usageModel(usage, NOON)
    })

    describe('a counter', () => {
      const minute = { name: 'anna', window: 60_000 }

      test('counts each request of its window, and begins anew with the next', async () => {
        expect(await usage.count({ ...minute, now: NOON })).toEqual({ count: 1, endsIn: 60_000 })
        expect(await usage.count({ ...minute, now: NOON + 1 })).toEqual({ count: 2, endsIn: 59_999 })
        expect(await usage.count({ ...minute, now: NOON + 59_999 })).toEqual({ count: 3, endsIn: 1 })
        expect(await usage.count({ ...minute, now: NOON + 60_000 })).toEqual({ count: 1, endsIn: 60_000 })
      })

      test('does not lose those before when a process’s clock is a moment behind', async () => {
        await usage.count({ ...minute, now: NOON + 59_999 })
        await usage.count({ ...minute, now: NOON + 60_000 })
        expect(await usage.count({ ...minute, now: NOON + 59_999 })).toEqual({ count: 2, endsIn: 1 })
      })

      test('is its name’s own, and not a key’s', async () => {
        await usage.count({ ...minute, now: NOON })
        expect(await usage.count({ ...minute, name: 'ben', now: NOON })).toMatchObject({ count: 1 })
        expect(await left()).toBe(LIMIT)
      })

      test('misses none of 50 at once from two sides', async () => {
        const sides = [usage, await harness.open()]
        const counts = await Promise.all(
          Array.from(
            { length: 50 },
            async (_, i) => (await sides[i % 2]?.count({ ...minute, now: NOON }))?.count,
          ),
        )
        expect(counts.sort((a = 0, b = 0) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
      })
    })

    test('works when it says so, and rejects everything once it is closed', async () => {
      await usage.check()
      const pending = await reserve()
      await Promise.all([usage.close(), usage.close()])
      await usage.close()
      for (const call of [
        () => usage.check(),
        () => usage.reserve(request),
        () => usage.settle(pending),
        () => usage.release(pending),
        () => usage.read(request),
        () => usage.count({ name: 'anna', window: 60_000, now: NOON }),
      ])
        await expect(call()).rejects.toThrow(UsageError)
    })
  })
}
