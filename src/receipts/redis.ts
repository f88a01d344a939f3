import { closeRedis, connectRedis } from '../redis-connection.ts'
import { keptUntil, LONGEST_SENDING, type ReceiptStore } from './receipts.ts'
import { decode, encode, MOST_CHARACTERS, markOf } from './record.ts'

export interface RedisReceiptsOptions {
  /** `redis://` or `rediss://`, with user, password and database number if needed. */
  readonly url: string
  /** Begins the name of everything that is kept there. */
  readonly prefix?: string
}

/** KEYS: hash. ARGV: how many receipts, their text, characters to keep, when the hash ends (Unix ms). */
const add = `
if redis.call('HEXISTS', KEYS[1], 'deleted') == 1 then
  return 0
end
local latest = ARGV[2] .. (redis.call('HGET', KEYS[1], 'latest') or '')
redis.call('HSET', KEYS[1], 'latest', string.sub(latest, 1, tonumber(ARGV[3])))
redis.call('HINCRBY', KEYS[1], 'total', ARGV[1])
return redis.call('PEXPIREAT', KEYS[1], ARGV[4])
`

/** KEYS: hash. ARGV: until when nothing is taken for it (Unix ms). */
const forget = `
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'deleted', 1)
return redis.call('PEXPIREAT', KEYS[1], ARGV[1])
`

const SCRIPTS = {
  layoverReceipts: { lua: add, numberOfKeys: 1 },
  layoverForget: { lua: forget, numberOfKeys: 1 },
}

interface Commands {
  layoverReceipts(hash: string, count: number, text: string, most: number, ends: number): Promise<number>
  layoverForget(hash: string, ends: number): Promise<number>
}

/**
 * Receipts in a Redis (6 or later, or what speaks as it does) that any number of machines share. Everything has a time to live. Rejects if
 * there is none at the URL or it does not let us in. What breaks off between two images has added some of them.
 */
export async function openRedisReceipts({
  url,
  prefix = 'layover:',
}: RedisReceiptsOptions): Promise<ReceiptStore> {
  const { redis, attempt } = await connectRedis<Commands>(url, SCRIPTS)
  const hashOf = (name: Parameters<typeof markOf>[0]) => `${prefix}fetches:${markOf(name).toString('hex')}`
  return {
    add: (batches) =>
      attempt(async () => {
        const added = batches.map(({ name, count, latest }) => {
          const ends = keptUntil(name, latest.at(-1)?.at ?? 0)
          return redis.layoverReceipts(hashOf(name), count, encode(latest), MOST_CHARACTERS, ends)
        })
        await Promise.all(added)
      }),

    read: (name) =>
      attempt(async () => {
        const { total = '0', latest = '' } = await redis.hgetall(hashOf(name))
        return { total: Number(total), latest: decode(latest) }
      }),

    forget: (names, now) =>
      attempt(async () => {
        const ends = ({ expires }: (typeof names)[number]) => Math.min(expires * 1000, now + LONGEST_SENDING)
        await Promise.all(names.map((name) => redis.layoverForget(hashOf(name), ends(name))))
      }),

    // It does so itself.
    async purge() {},

    close: () => closeRedis(redis),
  }
}
