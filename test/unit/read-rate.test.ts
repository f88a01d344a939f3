import { expect, test } from 'vitest'
import { ReadAllowance } from '../../src/http/connection/read-rate.ts'

const options = { minRate: 1000, window: 30 }

/** Seconds until a client is too slow that is seen to take so many bytes, every so many seconds. */
function secondsUntilTooSlow({ bytes, every }: { bytes: number; every: number }): number {
  const allowance = new ReadAllowance(options)
  for (let second = 1; second <= 10_000; second += 1) {
    const taken = Math.floor(second / every) * bytes
    if (!allowance.spendSecond({ isWaiting: true, taken })) return second
  }
  return Number.POSITIVE_INFINITY
}

test('a client that takes nothing is too slow after four windows', () => {
  expect(secondsUntilTooSlow({ bytes: 0, every: 1 })).toBe(121)
})

test('a client that takes half of the rate is too slow in the end, however it takes it', () => {
  expect(secondsUntilTooSlow({ bytes: 500, every: 1 })).toBe(241)
  expect(secondsUntilTooSlow({ bytes: 30_000, every: 60 })).toBeLessThan(300)
})

test('a client is fast enough though the system takes megabytes at once and then none for a minute', () => {
  expect(secondsUntilTooSlow({ bytes: 1000, every: 1 })).toBe(Number.POSITIVE_INFINITY)
  expect(secondsUntilTooSlow({ bytes: 6_000_000, every: 90 })).toBe(Number.POSITIVE_INFINITY)
})

test('what was taken quickly makes up for no more than four windows', () => {
  const allowance = new ReadAllowance(options)
  expect(allowance.spendSecond({ isWaiting: true, taken: 100_000_000 })).toBe(true)
  const seconds = Array.from({ length: 121 }, () =>
    allowance.spendSecond({ isWaiting: true, taken: 100_000_000 }),
  )
  expect(seconds.indexOf(false)).toBe(120)
})

test('seconds in which nothing waits for the client do not count', () => {
  const allowance = new ReadAllowance(options)
  for (let second = 0; second < 1000; second += 1)
    expect(allowance.spendSecond({ isWaiting: false, taken: 0 })).toBe(true)
})
