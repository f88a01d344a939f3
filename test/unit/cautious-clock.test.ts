import { beforeEach, expect, test } from 'vitest'
import { cautiousClock } from '../../src/cautious-clock.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const BEGIN = Date.UTC(2026, 0, 1)

let steady: number
let error: number
let clock: () => number
/** Hours of real time since the beginning, to which the clock may add an error. */
function after(ms: number, by = error): number {
  steady = ms
  error = by
  return clock() - BEGIN
}
beforeEach(() => {
  steady = 0
  error = 0
  clock = cautiousClock({ wall: () => BEGIN + steady + error, steady: () => steady })
})

test('a clock that goes right is followed, also when it is corrected a little', () => {
  expect(after(MINUTE)).toBe(MINUTE)
  expect(after(DAY)).toBe(DAY)
  expect(after(DAY + 1, 30_000)).toBe(DAY + 30_001)
})

test('a jump ahead does not count, and has never been when the clock is set right', () => {
  expect(after(MINUTE, DAY)).toBe(MINUTE)
  expect(after(30 * MINUTE)).toBe(30 * MINUTE)
  expect(after(31 * MINUTE, 0)).toBe(31 * MINUTE)
  expect(after(2 * HOUR)).toBe(2 * HOUR)
})

test('a jump ahead that has lasted for an hour counts', () => {
  after(MINUTE, DAY)
  expect(after(60 * MINUTE)).toBe(60 * MINUTE)
  expect(after(61 * MINUTE)).toBe(DAY + 61 * MINUTE)
  expect(after(62 * MINUTE)).toBe(DAY + 62 * MINUTE)
})

test('a second jump has to last as long as the first', () => {
  after(MINUTE, DAY)
  after(59 * MINUTE, 9 * DAY)
  expect(after(62 * MINUTE)).toBe(62 * MINUTE)
  expect(after(119 * MINUTE)).toBe(9 * DAY + 119 * MINUTE)
})

test('a jump back counts at once, and the way back from it as a jump ahead', () => {
  expect(after(MINUTE, -DAY)).toBe(MINUTE - DAY)
  expect(after(2 * MINUTE, 0)).toBe(2 * MINUTE - DAY)
  expect(after(62 * MINUTE)).toBe(62 * MINUTE)
})
