import { expect, test } from 'vitest'
import { waitBefore } from '../../src/command/upload/failure.ts'

test('an upload waits longer from try to try, but never so long that --retries is not kept', () => {
  const waits = Array.from({ length: 10 }, (_, tried) => waitBefore({ tried, retryAfter: 0 }))
  expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60])
})

test('it waits as long as the server asks, and gives up if that is of no use', () => {
  expect(waitBefore({ tried: 0, retryAfter: 30 })).toBe(30)
  expect(waitBefore({ tried: 0, retryAfter: 61 })).toBeUndefined()
})
