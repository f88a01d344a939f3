import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type SemaphoreOptions, type Shortage, semaphore } from '../../src/core/semaphore.ts'

class Refusal extends Error {
  readonly why: Shortage
  constructor(why: Shortage) {
    super(why)
    this.why = why
  }
}

const open = (options: Omit<SemaphoreOptions, 'refusal'>) =>
  semaphore({ ...options, refusal: (why) => new Refusal(why) })

const never = new AbortController().signal

afterEach(() => {
  vi.useRealTimers()
})

describe('without a queue', () => {
  test('a key gets its share and no more, and other keys get the rest', () => {
    const slots = open({ slots: 4, share: () => 2 })
    const held = [slots.tryAcquire('a'), slots.tryAcquire('a')]
    expect(() => slots.tryAcquire('a')).toThrow('share')
    held.push(slots.tryAcquire('b'), slots.tryAcquire('c'))
    expect(() => slots.tryAcquire('b')).toThrow('slots')
    for (const slot of held) slot[Symbol.dispose]()
    expect(slots.held).toBe(0)
  })

  test('a slot that is given back twice is free once', () => {
    const slots = open({ slots: 1 })
    const first = slots.tryAcquire('a')
    first[Symbol.dispose]()
    const second = slots.tryAcquire('b')
    first[Symbol.dispose]()
    expect(() => slots.tryAcquire('c')).toThrow('slots')
    second[Symbol.dispose]()
  })

  test('a look takes nothing', () => {
    const slots = open({ slots: 1 })
    slots.check('a')
    slots.check('a')
    expect(slots.held).toBe(0)
    slots.tryAcquire('a')
    expect(() => slots.check('b')).toThrow('slots')
  })

  test('the share is as large as it is now, and 0 slots are any number', () => {
    let share = 1
    const slots = open({ slots: 0, share: () => share })
    slots.tryAcquire('a')
    expect(() => slots.tryAcquire('a')).toThrow('share')
    share = Infinity
    for (let i = 0; i < 1000; i += 1) slots.tryAcquire('a')
    expect(slots.held).toBe(1001)
  })
})

describe('with a queue', () => {
  test('a key beyond its share waits until those of other keys have had their turn', async () => {
    const slots = open({ slots: 2, share: () => 1, queue: { length: 10 } })
    const order: string[] = []
    const held: Disposable[] = []
    const ask = (key: string, name: string) =>
      slots.acquire(key, never).then((slot) => {
        order.push(name)
        held.push(slot)
      })
    const free = async () => {
      held.shift()?.[Symbol.dispose]()
      await new Promise(setImmediate)
    }
    // As long as nobody else asks, one key has all.
    await Promise.all([ask('a', 'a1'), ask('a', 'a2')])
    const rest = [ask('a', 'a3'), ask('a', 'a4'), ask('b', 'b1'), ask('b', 'b2')]
    while (held.length > 0) await free()
    await Promise.all(rest)
    expect(order).toEqual(['a1', 'a2', 'b1', 'a3', 'b2', 'a4'])
  })

  test('no more wait than fit into the queue, nor more of one key than may', async () => {
    const slots = open({ slots: 1, queue: { length: 3, ofKey: () => 2 } })
    const running = await slots.acquire('a', never)
    const waiting = [slots.acquire('a', never), slots.acquire('b', never), slots.acquire('b', never)]
    await expect(slots.acquire('c', never)).rejects.toThrow('slots')
    running[Symbol.dispose]()
    await waiting[0]
    await expect(slots.acquire('b', never)).rejects.toThrow('share')
  })

  test('who waits too long or leaves gives up the turn', async () => {
    vi.useFakeTimers()
    const slots = open({ slots: 1, queue: { length: 3, patience: 1000 } })
    const running = await slots.acquire('a', never)
    const gone = new AbortController()
    const late = slots.acquire('b', never)
    const left = slots.acquire('c', gone.signal)
    gone.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    vi.advanceTimersByTime(1000)
    await expect(late).rejects.toThrow('patience')
    const next = slots.acquire('d', never)
    running[Symbol.dispose]()
    const slot = await next
    expect(slots.held).toBe(1)
    slot[Symbol.dispose]()
    await expect(slots.acquire('a', AbortSignal.abort(new Error('gone before')))).rejects.toThrow(
      'gone before',
    )
    expect(slots.held).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })
})

/**
 * What happens to a semaphore, one after the other: somebody asks, some holder is done, some waiter
 * leaves.
 */
const events = fc.array(
  fc.record({
    what: fc.constantFrom('ask', 'ask', 'done', 'leave'),
    key: fc.constantFrom('a', 'b', 'c'),
    which: fc.nat(20),
  }),
  { maxLength: 60 },
)

test('whatever the order of arrivals and ends, no limit is passed and all is free at the end', async () => {
  const limits = fc.record({
    slots: fc.integer({ min: 1, max: 5 }),
    percent: fc.integer({ min: 1, max: 100 }),
  })
  const run = async (
    { slots: most, percent }: { slots: number; percent: number },
    hasQueue: boolean,
    happenings: { what: string; key: string; which: number }[],
  ) => {
    const share = Math.ceil((most * percent) / 100)
    const slots = open({ slots: most, share: () => share, ...(hasQueue && { queue: { length: 6 } }) })
    const held: { key: string; slot: Disposable }[] = []
    const waiting = new Set<{ key: string; gone: AbortController }>()
    const of = (key: string) => held.filter((each) => each.key === key).length
    for (const { what, key, which } of happenings) {
      if (what === 'ask') {
        const [ask, before] = [{ key, gone: new AbortController() }, of(key)]
        waiting.add(ask)
        slots.acquire(key, ask.gone.signal).then(
          (slot) => {
            waiting.delete(ask)
            held.push({ key, slot })
          },
          (error) => {
            waiting.delete(ask)
            // Nobody is refused without a reason.
            const [isFull, hasShare] = [held.length >= most, before >= share]
            if (error instanceof Refusal) expect(isFull || (hasShare && !hasQueue)).toBe(true)
          },
        )
      } else if (what === 'done') held.splice(which % Math.max(1, held.length), 1)[0]?.slot[Symbol.dispose]()
      else [...waiting][which % Math.max(1, waiting.size)]?.gone.abort(new Error('gone'))
      await new Promise(setImmediate)
      expect(slots.held).toBe(held.length)
      expect(held.length).toBeLessThanOrEqual(most)
      // Nobody waits beside a free slot.
      if (waiting.size > 0) expect(held).toHaveLength(most)
      if (!hasQueue) for (const each of ['a', 'b', 'c']) expect(of(each)).toBeLessThanOrEqual(share)
    }
    for (const { gone } of waiting) gone.abort(new Error('gone'))
    for (const { slot } of held) slot[Symbol.dispose]()
    expect(slots.held).toBe(0)
    const again = Array.from({ length: Math.min(most, share) }, () => slots.tryAcquire('z'))
    for (const slot of again) slot[Symbol.dispose]()
  }
  await fc.assert(fc.asyncProperty(limits, fc.boolean(), events, run), { numRuns: 300 })
})

test('in the queue, a key that waits within its share is served before one beyond it, whatever the order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 30 }),
      async (asks) => {
        const share = 2
        const slots = open({ slots: 4, share: () => share, queue: { length: 100 } })
        const held: { key: string; slot: Disposable }[] = []
        const waiting: string[] = []
        const of = (key: string) => held.filter((each) => each.key === key).length
        for (const key of asks) {
          waiting.push(key)
          void slots.acquire(key, never).then((slot) => {
            // Beyond its share only if nobody else waits within theirs.
            const others = waiting.filter((other) => other !== key && of(other) < share)
            if (of(key) >= share) expect(others).toEqual([])
            waiting.splice(waiting.indexOf(key), 1)
            held.push({ key, slot })
          })
          await new Promise(setImmediate)
        }
        while (held.length > 0) {
          held.shift()?.slot[Symbol.dispose]()
          await new Promise(setImmediate)
        }
        expect(waiting).toEqual([])
        expect(slots.held).toBe(0)
      },
    ),
    { numRuns: 100 },
  )
})
