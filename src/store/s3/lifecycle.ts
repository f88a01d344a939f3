import {
  DeleteBucketLifecycleCommand,
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3'
import { StoreError } from '../store.ts'
import type { Bucket } from './bucket.ts'
import { failureOf } from './failures.ts'

const DAY = 86_400

export interface Backstop {
  /** Seconds that no image outlives; `Infinity` if some live for ever. */
  readonly longestLife: number
  /** The first key of an image that lives for longer than that from now. */
  readonly firstBeyond: string
}

/**
 * Has the server itself delete what no sweeper came for: in whole days, one more than the longest life has, on our prefix alone, the
 * operator's own rules untouched. It is never made to delete sooner than before, as there may be images with a longer life.
 *
 * Answers what to tell the operator, if anything. Rejects where an older rule of ours would delete images too early and
 * cannot be changed.
 */
export async function setBackstop(
  bucket: Bucket,
  { longestLife, firstBeyond }: Backstop,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { prefix } = bucket
  const id = `layover ${prefix}`
  const days = Math.ceil(longestLife / DAY) + 1
  try {
    const rules = await readRules(bucket, signal)
    const others = rules.filter(({ ID }) => ID !== id)
    const ours = rules.find(({ ID }) => ID === id)
    if (ours === undefined) {
      if (days === Number.POSITIVE_INFINITY) return undefined
      if (prefix === '')
        return 'S3_PREFIX is empty: no lifecycle rule is set, as it would be for the whole bucket'
      if (await holdsAny(bucket, firstBeyond, signal))
        return 'the bucket has images that live longer than MAX_LIFETIME: no lifecycle rule is set'
    } else if ((ours.Expiration?.Days ?? 0) >= days) return undefined

    const rule = {
      ID: id,
      Status: 'Enabled',
      Filter: { Prefix: prefix },
      Expiration: { Days: days },
    } as const
    const wanted = days === Number.POSITIVE_INFINITY ? others : [...others, rule]
    await writeRules(bucket, wanted, signal).catch((cause) => {
      if (ours === undefined) throw cause
      const text = `the lifecycle rule "${id}" of the bucket "${bucket.name}" deletes images before they expire, and cannot be changed`
      throw new StoreError(`MAX_LIFETIME: ${text}; remove it`, { cause })
    })
    return undefined
  } catch (error) {
    if (error instanceof StoreError) throw error
    return `no lifecycle rule stands behind the sweeper: the store refuses it (${failureOf(error).code})`
  }
}

async function readRules({ client, name }: Bucket, abortSignal: AbortSignal): Promise<LifecycleRule[]> {
  try {
    const command = new GetBucketLifecycleConfigurationCommand({ Bucket: name })
    return (await client.send(command, { abortSignal })).Rules ?? []
  } catch (error) {
    if (failureOf(error).code === 'NoSuchLifecycleConfiguration') return []
    throw error
  }
}

async function writeRules({ client, name }: Bucket, rules: LifecycleRule[], abortSignal: AbortSignal) {
  const send = { abortSignal }
  if (rules.length === 0) return client.send(new DeleteBucketLifecycleCommand({ Bucket: name }), send)
  const configuration = { Bucket: name, LifecycleConfiguration: { Rules: rules } }
  return client.send(new PutBucketLifecycleConfigurationCommand(configuration), send)
}

/** Whether there is an image from this key on. */
async function holdsAny({ client, name, prefix }: Bucket, from: string, abortSignal: AbortSignal) {
  const command = new ListObjectsV2Command({
    Bucket: name,
    Prefix: prefix,
    StartAfter: prefix + from,
    MaxKeys: 1,
  })
  return ((await client.send(command, { abortSignal })).Contents ?? []).length > 0
}
