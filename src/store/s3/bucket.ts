import { createHash, randomUUID } from 'node:crypto'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { StoreError } from '../store.ts'
import { attempts } from './calls.ts'
import { failureOf } from './failures.ts'

export interface Bucket {
  readonly client: S3Client
  readonly name: string
  /** What the keys of all images begin with. */
  readonly prefix: string
}

export interface BucketAbilities {
  /** Whether an object's ETag is the MD5 of its bytes, as on most servers without encryption. */
  readonly etagIsMd5: boolean
}

/**
 * Proves at start that images can be listed, stored, read and deleted, making the bucket if it is missing and `create` says so.
 * Rejects with a `StoreError` that names the setting to change.
 */
export async function openBucket(
  bucket: Bucket,
  { create, endpoint, signal }: { create: boolean; endpoint: string; signal: AbortSignal },
): Promise<BucketAbilities> {
  const { client, name, prefix } = bucket
  const key = `${prefix}.layover-${randomUUID()}`
  const object = { Bucket: name, Key: key }
  const bytes = Buffer.from('Layover was here to see whether it can write. This may be deleted.')
  const digest = createHash('md5').update(bytes).digest()

  const step = <T>(doing: string, call: () => Promise<T>): Promise<T> =>
    attempts(call, signal).catch((error) => {
      throw explain(error, { doing, bucket: name, endpoint, isOver: signal.aborted })
    })
  const list = async () => {
    const command = new ListObjectsV2Command({ Bucket: name, Prefix: prefix, MaxKeys: 1 })
    const { IsTruncated } = await client.send(command, { abortSignal: signal })
    // Any page of a web server is an empty list to the SDK.
    if (IsTruncated === undefined) throw new StoreError(noS3(endpoint))
  }
  const make = () => client.send(new CreateBucketCommand({ Bucket: name }), { abortSignal: signal })

  await step('list', () =>
    list().catch(async (error) => {
      if (!create || failureOf(error).code !== 'NoSuchBucket') throw error
      await step('make', () => make().catch(ignoreExisting))
      return list()
    }),
  )
  const put = new PutObjectCommand({ ...object, Body: bytes, ContentMD5: digest.toString('base64') })
  const { ETag } = await step('write to', () => client.send(put, { abortSignal: signal }))
  await step('read from', async () => {
    const { Body } = await client.send(new GetObjectCommand(object), { abortSignal: signal })
    const read = await Body?.transformToByteArray()
    if (!bytes.equals(read ?? Buffer.of()))
      throw new StoreError(
        `S3_ENDPOINT: ${endpoint} gives back other bytes than it was given, so no image can be kept there`,
      )
  })
  await step('delete from', () => client.send(new DeleteObjectCommand(object), { abortSignal: signal }))
  return { etagIsMd5: ETag === `"${digest.toString('hex')}"` }
}

/** Whether the bucket keeps what is deleted as an older version. Not every server or key can tell. */
export async function keepsVersions({ client, name }: Bucket, signal: AbortSignal): Promise<boolean> {
  const answer = client.send(new GetBucketVersioningCommand({ Bucket: name }), { abortSignal: signal })
  return answer.then(
    ({ Status }) => Status === 'Enabled',
    () => false,
  )
}

/** Another replica may be quicker. */
function ignoreExisting(error: unknown): void {
  if (!['BucketAlreadyOwnedByYou', 'BucketAlreadyExists'].includes(failureOf(error).code)) throw error
}

interface Circumstances {
  readonly doing: string
  readonly bucket: string
  readonly endpoint: string
  /** Whether the time for starting is over. */
  readonly isOver: boolean
}

/** Says what to change, in the words of the configuration. */
function explain(error: unknown, { doing, bucket, endpoint, isOver }: Circumstances): StoreError {
  if (error instanceof StoreError) return error
  const { status, code } = failureOf(error)
  const text = (isOver ? undefined : ADVICE[code]?.({ bucket, endpoint, doing })) ?? byStatus()
  return new StoreError(text, { cause: error })

  function byStatus(): string {
    if (isOver || code === 'TimeoutError') return `S3_ENDPOINT: ${endpoint} does not answer in time`
    // No answer, or one in which the SDK finds no error of S3's.
    if (status === undefined || /^UnknownError$|Deserialization error/.test((error as Error).message))
      return noS3(endpoint)
    if (status === 403) return denied({ bucket, endpoint, doing })
    if (status === 301 || status === 307) return region({ bucket, endpoint, doing })
    return `S3_ENDPOINT: ${endpoint} refuses to ${doing} the bucket "${bucket}" (${code}, ${status})`
  }
}

const noS3 = (endpoint: string) => `S3_ENDPOINT: what answers at ${endpoint} does not speak S3`

type Advice = (about: Omit<Circumstances, 'isOver'>) => string

const unknownHost: Advice = ({ endpoint }) => `S3_ENDPOINT: no machine of that name can be found: ${endpoint}`
const nobody: Advice = ({ endpoint }) => `S3_ENDPOINT: nothing answers at ${endpoint}`
const untrusted: Advice = ({ endpoint }) =>
  `S3_ENDPOINT: the certificate of ${endpoint} is not trusted here; ` +
  'NODE_EXTRA_CA_CERTS can name a file with the one that signed it'
const denied: Advice = ({ bucket, doing }) =>
  `S3_ACCESS_KEY_ID: this key may not ${doing} the bucket "${bucket}"; docs/storage.md has the policy that it needs`
const region: Advice = ({ bucket }) => `S3_REGION: the bucket "${bucket}" is in another region`
const clock: Advice = ({ endpoint }) =>
  `The clock of this machine and that of ${endpoint} are more than a quarter of an hour apart; set the one that is wrong`

const ADVICE: Readonly<Record<string, Advice>> = {
  ENOTFOUND: unknownHost,
  EAI_AGAIN: unknownHost,
  ECONNREFUSED: nobody,
  EHOSTUNREACH: nobody,
  ENETUNREACH: nobody,
  ETIMEDOUT: nobody,
  EPROTO: ({ endpoint }) => `S3_ENDPOINT: ${endpoint} does not speak TLS; http:// may be meant`,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  CERT_HAS_EXPIRED: untrusted,
  CredentialsProviderError: () =>
    'S3_ACCESS_KEY_ID: no key is set, and neither the environment of AWS nor this machine has one',
  InvalidAccessKeyId: () => 'S3_ACCESS_KEY_ID: the store does not know this key',
  SignatureDoesNotMatch: () =>
    'S3_SECRET_ACCESS_KEY: is not the one of S3_ACCESS_KEY_ID (or a proxy in between changes the request)',
  RequestTimeTooSkewed: clock,
  RequestExpired: clock,
  AccessDenied: denied,
  PermanentRedirect: region,
  AuthorizationHeaderMalformed: region,
  IllegalLocationConstraintException: region,
  InvalidLocationConstraint: region,
  NoSuchBucket: ({ bucket }) =>
    `S3_BUCKET: there is no bucket "${bucket}"; make it, or let it be made with S3_CREATE_BUCKET=true`,
  InvalidBucketName: ({ bucket }) => `S3_BUCKET: "${bucket}" cannot be the name of a bucket`,
}
