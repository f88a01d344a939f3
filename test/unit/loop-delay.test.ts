import { afterEach, expect, test, vi } from 'vitest'
import { loopDelay } from '../../src/loop-delay.ts'

afterEach(() => {
  vi.useRealTimers()
})

/**
 * One turn of the loop: for how long it blocks, and how much of that is the CPU time of this
 * thread. Milliseconds.
 */
interface Turn {
  readonly blocks: number
  readonly cpu: number
}

const own = (blocks: number): Turn => ({ blocks, cpu: blocks })
const others = (blocks: number): Turn => ({ blocks, cpu: 1 })
const times = (count: number, turn: Turn) => Array.from({ length: count }, () => turn)

/** The largest and the last mean after each of these turns. */
function delayOf(turns: readonly Turn[]): { most: number; last: number } {
  vi.useFakeTimers()
  let [time, used, most] = [0, 0, 0]
  const loop = loopDelay({ now: () => time, cpu: () => used })
  loop.watch()
  for (const { blocks, cpu } of turns) {
    time += 100 + blocks
    used += cpu
    vi.advanceTimersByTime(100)
    most = Math.max(most, loop.mean)
  }
  const last = loop.mean
  loop.close()
  return { most, last }
}

test('event-loop delay is what somebody has to wait for, not what most turns take', () => {
  expect(delayOf(times(100, own(0))).last).toBe(0)
  expect(delayOf(times(100, own(20))).last).toBeLessThan(30)
  expect(delayOf(times(10, own(900))).last).toBeGreaterThan(700)
  // Three seconds of stall in each three and a half, beside many turns without.
  const uneven = [own(3000), ...times(4, own(0))]
  expect(delayOf([...uneven, ...uneven, ...uneven]).last).toBeGreaterThan(600)
})

test('event-loop delay is seen where each turn takes longer than the time that is looked back', () => {
  expect(delayOf(times(3, own(10_000))).last).toBeGreaterThan(3000)
})

test.each([500, 2500, 6000, 60_000])('one stall of %i ms is the past, whoever caused it', (blocks) => {
  const turns = [...times(50, own(5)), own(blocks), ...times(100, own(5))]
  expect(delayOf(turns).most).toBeLessThan(10)
})

test('event-loop delay goes away soon after the load has', () => {
  expect(delayOf([...times(10, own(1000)), ...times(80, own(0))]).last).toBeLessThan(200)
})

test('the time in which this thread is not run is not its load, however often', () => {
  expect(delayOf(times(20, others(6000))).most).toBeLessThan(10)
  // A tenth of a core is ours.
  expect(delayOf(times(50, { blocks: 1000, cpu: 100 })).most).toBeLessThan(150)
})

test('what happens before it is watched is not seen', () => {
  vi.useFakeTimers()
  let time = 0
  const loop = loopDelay({ now: () => time, cpu: () => time })
  for (let i = 0; i < 10; i += 1) {
    time += 5000
    vi.advanceTimersByTime(100)
  }
  expect(loop.mean).toBe(0)
  loop.watch()
  time += 100
  vi.advanceTimersByTime(100)
  expect(loop.mean).toBe(0)
  loop.close()
})
