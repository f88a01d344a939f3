import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ReceiptStore } from '../../src/receipts/receipts.ts'
import { openRedisReceipts } from '../../src/receipts/redis.ts'
import { newName, receiptOf } from '../support/receipts.ts'
import { canStartRedis, hasRedis, type RedisServer, startRedis } from '../support/redis-server.ts'
import { eventually } from '../support/socket.ts'
import { receiptsContract } from './contract.ts'

describe.skipIf(!hasRedis())('on a Redis', () => {
  let server: RedisServer | undefined
  let client: Redis
  let url: string

  beforeAll(async () => {
    if (!process.env.TEST_REDIS_URL) server = await startRedis()
    url = process.env.TEST_REDIS_URL || (server?.url ?? '')
    client = new Redis(url)
  })
  afterAll(async () => {
    client.disconnect()
    await server?.stop()
  })

  receiptsContract('redis', async () => {
    const prefix = `layover-test-${randomUUID()}:`
    const names = () => client.keys(`${prefix}*`)
    const opened: ReceiptStore[] = []
    return {
      open: async () => {
        const store = await openRedisReceipts({ url, prefix })
        opened.push(store)
        return store
      },
      dump: async () => {
        const all = (await names()).map(async (name) => [name, await client.hgetall(name)])
        return JSON.stringify(await Promise.all(all))
      },
      ends: async () => {
        const ends = await Promise.all((await names()).map((name) => client.pexpiretime(name)))
        return ends.sort((a, b) => a - b)
      },
      close: async () => {
        for (const store of opened) await store.close()
        for (const name of await names()) {
          expect(await client.pttl(name)).toBeGreaterThan(0)
          await client.del(name)
        }
      },
    }
  })

  test('however often an image is fetched, little is kept', async () => {
    const prefix = `layover-test-${randomUUID()}:`
    const store = await openRedisReceipts({ url, prefix })
    const name = newName()
    const latest = Array.from({ length: 100 }, () => receiptOf())
    for (let i = 0; i < 1000; i += 1) await store.add([{ name, count: 100, latest }])
    expect((await store.read(name)).total).toBe(100_000)
    const [key = ''] = await client.keys(`${prefix}*`)
    expect(Number(await client.memory('USAGE', key))).toBeLessThan(20_000)
    await client.del(key)
    await store.close()
  })

  test.skipIf(!canStartRedis)('calls reject while it is gone, and work when it is back', async () => {
    const own = await startRedis()
    const store = await openRedisReceipts({ url: own.url })
    const batch = [{ name: newName(), count: 1, latest: [receiptOf()] }]
    await own.kill()
    await expect(store.add(batch)).rejects.toThrow('cannot use the Redis')
    await own.start()
    await eventually(() =>
      store.add(batch).then(
        () => true,
        () => false,
      ),
    )
    await store.close()
    await own.stop()
  })
})
