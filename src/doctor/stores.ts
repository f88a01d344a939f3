import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { Config } from '../config.ts'
import { type ImageName, makeName } from '../name.ts'
import { openStore } from '../open-store.ts'
import { openUsage } from '../open-usage.ts'
import { TINY_PNG } from '../routes/schemas.ts'
import type { Spool } from '../spool.ts'
import { ObjectNotFound, type StagedBytes, type Store } from '../store/store.ts'
import { ask } from './ask.ts'
import { bad, good, skipped, type Verdict } from './verdict.ts'

/** Seconds that a call to a bucket may take here, whatever S3_TIMEOUT is. */
const CALL_LIMIT = 10
/** Seconds that a probe lives, should it not be deleted. */
const PROBE_LIFE = 600
/** Seconds that clocks may differ. */
const MOST_SKEW = 5

/** The image that is stored to see whether it comes back: one pixel. */
export const PROBE = Buffer.from(TINY_PNG, 'base64')

/** Opens the store of the configuration, as a start does, but leaves the bucket's rules as they are. */
export function openProbeStore(config: Config, spool: Spool): Promise<Store> {
  const s3 = { ...config.s3, timeout: Math.min(config.s3.timeout, CALL_LIMIT) }
  return openStore({ config: { ...config, s3 }, spool, onNote: () => {}, leaveRules: true })
}

/** Puts a probe into the store, where it can be fetched until it is deleted, or ten minutes. */
export async function putProbe(store: Store): Promise<ImageName> {
  const created = Math.floor(Date.now() / 1000)
  // The mark of nobody's key: no key can list or delete it.
  const secret = randomBytes(32)
  const name = makeName({ created, expires: created + PROBE_LIFE, format: 'png', keyId: 'doctor', secret })
  await store.put(name.text, staged())
  return name
}

function staged(): StagedBytes {
  const md5 = createHash('md5').update(PROBE).digest('base64')
  return { size: PROBE.length, bytes: PROBE, md5, open: () => Readable.from([PROBE]) }
}

/** Whether the store keeps, gives back and deletes an image. */
export async function storeVerdict(store: Store, { store: kind }: Config): Promise<Verdict> {
  const { text } = await putProbe(store)
  const { body } = await store.open(text)
  const isSame = PROBE.equals(await buffer(body))
  await store.delete(text)
  const isThere = await store.stat(text).then(
    () => true,
    (error) => {
      if (error instanceof ObjectNotFound) return false
      throw error
    },
  )
  if (!isSame) return bad('gives back other bytes than it was given; look at what stands before it')
  return isThere
    ? bad('still has an image after deleting it')
    : good(`STORE=${kind} writes, reads and deletes`)
}

/** Whether there is more free space than is to be kept. */
export async function spaceVerdict(spool: Spool): Promise<Verdict> {
  const headroom = await spool.headroom()
  const megabytes = Math.floor(Math.abs(headroom) / 1024 ** 2)
  return headroom < 0
    ? bad(
        `is ${megabytes} MB below MIN_FREE_SPACE, so uploads are refused: free some, or lower MIN_FREE_SPACE`,
      )
    : good(`${megabytes} MB above MIN_FREE_SPACE`)
}

/** Whether quotas and rates can be counted. */
export async function usageVerdict(config: Config): Promise<Verdict> {
  const usage = await openUsage(config)
  try {
    await usage.check()
    return good(`can be kept in ${config.redisUrl === undefined ? 'DATA_DIR' : 'the Redis of REDIS_URL'}`)
  } finally {
    await usage.close()
  }
}

/** Whether this machine's clock and the store's agree. Expiry goes by the one, and signatures by both. */
export async function clockVerdict({ store, s3 }: Pick<Config, 'store' | 's3'>): Promise<Verdict> {
  if (store !== 's3') return skipped(`STORE=${store} has no clock of its own to compare with`)
  const begun = Date.now()
  // Whatever it answers, the answer has a date.
  const { headers } = await ask(s3.endpoint ?? `https://s3.${s3.region}.amazonaws.com`)
  const middle = (begun + Date.now()) / 2
  // In whole seconds, so on average half a second ago.
  const theirs = Date.parse(headers.date ?? '') + 500
  if (Number.isNaN(theirs)) return skipped('the answers of the S3 server have no Date')
  const skew = Math.round((middle - theirs) / 1000)
  if (Math.abs(skew) <= MOST_SKEW) return good('that of the S3 server says the same')
  const direction = skew > 0 ? 'ahead of' : 'behind'
  return bad(
    `is ${Math.abs(skew)} seconds ${direction} that of the S3 server: set the one that is wrong, best by NTP`,
  )
}
