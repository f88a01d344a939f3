import {
  DeleteBucketLifecycleCommand,
  GetBucketLifecycleConfigurationCommand,
  type GetBucketLifecycleConfigurationCommandOutput,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3'
import { type Store, StoreError, storeFailure } from '../store.ts'
import type { Bucket } from './bucket.ts'
import { attempts } from './calls.ts'
import { failureOf, isPassing } from './failures.ts'
import { type RawAnswer, rawAnswer } from './raw-answer.ts'

const DAY = 86_400
/** How many images are looked at, at the most, before a first rule is set. */
const MOST_LOOKED_AT = 10_000

export interface Backstop {
  /** Seconds that no image outlives; `Infinity` if some live for ever. */
  readonly longestLife: number
  /** Seconds from the making of an image to its expiry. */
  readonly lifeOf: (key: string) => number
}

interface Setting extends Backstop {
  readonly bucket: Bucket
  readonly list: Store['list']
  readonly signal: AbortSignal
}

/**
 * Has the server itself delete what no sweeper came for: in whole days, one more than the longest life has, on our prefix alone, the
 * operator's own rules untouched. It is never made to delete sooner than before, as there may be images with a longer life.
 *
 * Answers what to tell the operator, if anything. Rejects where an older rule of ours would delete images too early and
 * cannot be changed.
 */
export async function setBackstop({
  bucket,
  longestLife,
  lifeOf,
  list,
  signal,
}: Setting): Promise<string | undefined> {
  const id = `layover ${bucket.prefix}`
  const days = Math.ceil(longestLife / DAY) + 1
  const found = await attempts(() => read(bucket, signal), signal).catch(refusal)
  if (typeof found === 'string')
    return `no lifecycle rule is set: those of the bucket cannot be read (${found}); see that none deletes images too early`

  const ours = found.rules.find(({ ID }) => ID === id)
  if (ours === undefined) {
    if (days === Number.POSITIVE_INFINITY) return undefined
    const reason = await reasonAgainst(bucket, list, (key) => lifeOf(key) > days * DAY)
    if (reason !== undefined) return `no lifecycle rule is set: ${reason}`
  } else if ((ours.Expiration?.Days ?? 0) >= days) return undefined

  const others = found.rules.filter(({ ID }) => ID !== id)
  const isKept = found.unknown === undefined
  const rule = {
    ID: id,
    Status: 'Enabled',
    Filter: { Prefix: bucket.prefix },
    Expiration: { Days: days },
  } as const
  const wanted = days === Number.POSITIVE_INFINITY ? others : [...others, rule]
  const refused = isKept
    ? await attempts(() => write(bucket, wanted, found, signal), signal).then(() => undefined, refusal)
    : `it has rules of its own with <${found.unknown}>, which would be lost`
  if (refused === undefined) return undefined
  if (ours === undefined) return `no lifecycle rule is set: the store refuses it (${refused})`
  throw new StoreError(
    `MAX_LIFETIME: the lifecycle rule "${id}" of the bucket "${bucket.name}" deletes images before they expire, ` +
      `and cannot be changed (${refused}); remove it`,
  )
}

/** The code of a failure that is for good. One that may pass is thrown: the same start may succeed a moment later. */
function refusal(error: unknown): string {
  const { code } = failureOf(error)
  if (isPassing(error))
    throw storeFailure(error, `cannot look after the lifecycle rules of the bucket (${code})`)
  return code
}

/** Why there may be no rule for this bucket, if so. */
async function reasonAgainst(
  { prefix }: Bucket,
  list: Store['list'],
  outlives: (key: string) => boolean,
): Promise<string | undefined> {
  if (prefix === '') return 'S3_PREFIX is empty, so it would be for the whole bucket'
  let count = 0
  for await (const { key } of list()) {
    if (outlives(key)) return 'the bucket has images that live longer than MAX_LIFETIME'
    count += 1
    if (count === MOST_LOOKED_AT)
      return 'there are too many images to see whether it would delete one too early'
  }
  return undefined
}

interface Rules {
  readonly rules: LifecycleRule[]
  readonly answer: GetBucketLifecycleConfigurationCommandOutput | undefined
  /** An element that the SDK does not know, and so would leave out when it writes the rules. */
  readonly unknown: string | undefined
}

async function read({ client, name }: Bucket, abortSignal: AbortSignal): Promise<Rules> {
  const command = new GetBucketLifecycleConfigurationCommand({ Bucket: name })
  const raw: RawAnswer = rawAnswer(command)
  try {
    const answer = await client.send(command, { abortSignal })
    const elements = [...raw.text.matchAll(/<([A-Za-z]\w*)/g)].map(([, element = '']) => element)
    return { rules: answer.Rules ?? [], answer, unknown: elements.find((element) => !KNOWN.has(element)) }
  } catch (error) {
    if (failureOf(error).code !== 'NoSuchLifecycleConfiguration') throw error
    return { rules: [], answer: undefined, unknown: undefined }
  }
}

async function write(
  { client, name }: Bucket,
  rules: LifecycleRule[],
  { answer }: Rules,
  abortSignal: AbortSignal,
): Promise<void> {
  const send = { abortSignal }
  if (rules.length === 0)
    return void (await client.send(new DeleteBucketLifecycleCommand({ Bucket: name }), send))
  const configuration = {
    Bucket: name,
    LifecycleConfiguration: { Rules: rules },
    TransitionDefaultMinimumObjectSize: answer?.TransitionDefaultMinimumObjectSize,
  }
  await client.send(new PutBucketLifecycleConfigurationCommand(configuration), send)
}

/** The elements of a lifecycle configuration that the SDK reads and writes. */
const KNOWN = new Set([
  ...['LifecycleConfiguration', 'Rule', 'ID', 'Status', 'Prefix', 'Filter', 'And', 'Tag', 'Key', 'Value'],
  ...[
    'ObjectSizeGreaterThan',
    'ObjectSizeLessThan',
    'Expiration',
    'Days',
    'Date',
    'ExpiredObjectDeleteMarker',
  ],
  ...[
    'Transition',
    'StorageClass',
    'NoncurrentVersionExpiration',
    'NoncurrentVersionTransition',
    'NoncurrentDays',
  ],
  ...['NewerNoncurrentVersions', 'AbortIncompleteMultipartUpload', 'DaysAfterInitiation'],
])
