import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRedisUsage } from '../../src/usage/redis.ts'
import { type Usage, UsageError } from '../../src/usage/usage.ts'
import { canStartRedis, hasRedis, type RedisServer, startRedis } from '../support/redis-server.ts'
import { eventually } from '../support/socket.ts'
import { usageContract } from './contract.ts'

const request = { key: 'anna', bytes: 10, limit: 200, window: 3600, hold: 60, now: Date.UTC(2027, 0, 1, 12) }

describe.skipIf(!hasRedis())('on a Redis', () => {
  let server: RedisServer | undefined
  let url: string

  beforeAll(async () => {
    if (!process.env.TEST_REDIS_URL) server = await startRedis()
    url = process.env.TEST_REDIS_URL || (server?.url ?? '')
  })
  afterAll(() => server?.stop())

  usageContract('redis', async () => {
    const prefix = `layover-test-${randomUUID()}:`
    const opened: Usage[] = []
    return {
      open: async () => {
        const usage = await openRedisUsage({ url, prefix })
        opened.push(usage)
        return usage
      },
      close: async () => {
        for (const usage of opened) await usage.close()
        expect(await removeAll(prefix)).toEqual([])
      },
    }
  })

  /** Removes all that begins with a prefix, and answers with what would have stayed for ever. */
  async function removeAll(prefix: string): Promise<string[]> {
    const client = new Redis(url)
    const names = await client.keys(`${prefix}*`)
    const eternal: string[] = []
    for (const name of names) {
      if ((await client.pttl(name)) === -1) eternal.push(name)
      await client.del(name)
    }
    client.disconnect()
    return eternal
  }

  test('what is old is removed as it is met, and everything goes a window later', async () => {
    const prefix = `layover-test-${randomUUID()}:`
    const usage = await openRedisUsage({ url, prefix })
    for (let minute = 0; minute < 600; minute++) {
      const now = request.now + minute * 60_000
      const answer = await usage.reserve({ ...request, bytes: 1, now })
      if (answer.granted && minute % 2) await usage.settle(answer)
    }
    await usage.count({ name: 'anna', window: 60_000, now: request.now })
    await usage.close()
    const client = new Redis(url)
    const fields = await client.hlen(`${prefix}usage:2:{anna}`)
    const times = await Promise.all((await client.keys(`${prefix}*`)).map((name) => client.pttl(name)))
    client.disconnect()
    // An hour of every other minute, one that is open, and what is kept of their total.
    expect(fields).toBeLessThanOrEqual(65)
    const [counter = 0, ...others] = times.sort((a, b) => a - b)
    // The sums, and each that nobody has settled, which Redis itself forgets.
    expect(others).toHaveLength(301)
    expect(counter).toBeLessThanOrEqual(120_000)
    expect(others.at(-1)).toBeLessThanOrEqual(3_612_500)
    expect(await removeAll(prefix)).toEqual([])
  })

  test('a shorter window or hold does not let what is there go early', async () => {
    const prefix = `layover-test-${randomUUID()}:`
    const usage = await openRedisUsage({ url, prefix })
    await usage.reserve(request)
    await usage.reserve({ ...request, window: 1, hold: 1 })
    await usage.close()
    const client = new Redis(url)
    expect(await client.pttl(`${prefix}usage:2:{anna}`)).toBeGreaterThan(3_500_000)
    client.disconnect()
    await removeAll(prefix)
  })

  test('10 000 open reservations make no other dearer, nor one that is refused', {
    timeout: 60_000,
  }, async () => {
    const prefix = `layover-test-${randomUUID()}:`
    const usage = await openRedisUsage({ url, prefix })
    const client = new Redis(url)
    const wide = { key: 'many', bytes: 1, limit: 1e9, window: 86_400, hold: 1200, now: request.now }
    /** Spread over all of a hold. */
    async function reserveMany(key: string) {
      const times = Array.from({ length: 10_000 }, (_, i) => request.now - (10_000 - i) * 120)
      while (times.length > 0)
        await Promise.all(times.splice(0, 500).map((now) => usage.reserve({ ...wide, key, now })))
    }
    // A key that is refused has used its quota, here over all of the window.
    for (const key of ['full', 'full and many'])
      for (let slot = 288; slot > 0; slot -= 1) {
        const answer = await usage.reserve({ ...wide, key, now: request.now - slot * 300_000 })
        if (answer.granted) await usage.settle(answer)
      }
    for (const key of ['many', 'full and many']) await reserveMany(key)

    /** Microseconds of the server for a call: the least of several rounds. */
    const least = new Map<string, number>()
    async function measure(kind: string, call: () => Promise<unknown>) {
      await client.config('RESETSTAT')
      for (let i = 0; i < 200; i += 1) await call()
      const [, each] =
        /cmdstat_evalsha:.*usec_per_call=([\d.]+)/.exec(await client.info('commandstats')) ?? []
      least.set(kind, Math.min(least.get(kind) ?? Number.POSITIVE_INFINITY, Number(each)))
    }
    const takeAndGive = async (key: string) => {
      const answer = await usage.reserve({ ...wide, key })
      if (answer.granted) await usage.release(answer)
    }
    for (let round = 0; round < 10; round += 1) {
      await measure('none', () => takeAndGive('none'))
      await measure('many', () => takeAndGive('many'))
      await measure('refused', () => usage.reserve({ ...wide, key: 'full', limit: 2, bytes: 2 }))
      await measure('refused to many', () =>
        usage.reserve({ ...wide, key: 'full and many', limit: 2, bytes: 2 }),
      )
    }
    const cost = (kind: string) => least.get(kind) ?? Number.NaN
    expect(cost('many') / cost('none')).toBeLessThan(2)
    expect(cost('refused to many') / cost('refused')).toBeLessThan(2)
    client.disconnect()
    await usage.close()
    await removeAll(prefix)
  })

  describe('a URL', () => {
    async function failureOf(wrong: string): Promise<Error> {
      return openRedisUsage({ url: wrong }).then(
        () => new Error('it opened'),
        (error) => error,
      )
    }

    test.each([
      {
        what: 'with a user or password that it does not know',
        make: () => strangerAt(url),
        says: /WRONGPASS|AUTH/,
      },
      { what: 'where nothing listens', make: () => 'redis://:swordfish@127.0.0.1:1', says: /ECONNREFUSED/ },
      { what: 'of another kind', make: () => 'http://:swordfish@127.0.0.1:1', says: /redis:\/\// },
      { what: 'that is none', make: () => 'redis://:swordfish@[oops', says: /redis:\/\// },
    ])('$what is refused at once, and its password kept', async ({ make, says }) => {
      const started = Date.now()
      const error = await failureOf(make())
      expect(error).toBeInstanceOf(UsageError)
      expect(error.message).toMatch(says)
      expect(inspect(error, { depth: null, showHidden: true })).not.toContain('swordfish')
      expect(Date.now() - started).toBeLessThan(2000)
    })

    function strangerAt(of: string): string {
      return Object.assign(new URL(of), { username: 'nobody', password: 'swordfish' }).href
    }
  })

  describe.skipIf(!canStartRedis)('that is in trouble', () => {
    async function rejectsWithin(ms: number, call: Promise<unknown>) {
      const started = Date.now()
      const error = await call.catch((reason) => reason)
      expect(error).toBeInstanceOf(UsageError)
      expect(inspect(error, { depth: null, showHidden: true })).not.toContain(own.url.slice(9, 49))
      expect(Date.now() - started).toBeLessThan(ms)
    }

    let own: RedisServer
    let usage: Usage
    beforeAll(async () => {
      own = await startRedis()
      usage = await openRedisUsage({ url: own.url })
    })
    afterAll(async () => {
      await usage.close()
      await own.stop()
    })

    const works = () =>
      usage.check().then(
        () => true,
        () => false,
      )

    test('killed, each call rejects at once; back, it works again', async () => {
      await usage.reserve(request)
      await own.kill()
      await rejectsWithin(500, usage.reserve(request))
      await new Promise((resolve) => setTimeout(resolve, 300))
      await rejectsWithin(500, usage.reserve(request))
      await rejectsWithin(500, usage.count({ name: 'anna', window: 60_000, now: request.now }))
      await rejectsWithin(500, usage.check())
      await own.start()
      await eventually(works, 5000)
      // It has forgotten the script as well.
      expect(await usage.reserve(request)).toMatchObject({ granted: true })
    })

    test('restarted under an open call, that call ends', async () => {
      own.freeze(true)
      const calls = Array.from({ length: 5 }, () => usage.reserve(request).catch((error) => error))
      await own.kill()
      await own.start()
      for (const answer of await Promise.all(calls))
        expect(answer instanceof UsageError || answer.granted === true).toBe(true)
      await eventually(works, 5000)
    })

    test('silent, each call rejects in seconds; talking again, it works', async () => {
      own.freeze(true)
      await rejectsWithin(3000, usage.reserve(request))
      own.freeze(false)
      await eventually(works, 5000)
      expect(await usage.reserve(request)).toMatchObject({ granted: true })
    })

    test('its script lost, it is sent again', async () => {
      const client = new Redis(own.url)
      await client.script('FLUSH')
      client.disconnect()
      expect(await usage.reserve(request)).toMatchObject({ granted: true })
    })
  })
})
