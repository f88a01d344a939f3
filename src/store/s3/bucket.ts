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
import { advise, noS3 } from './advice.ts'
import { attempts } from './calls.ts'
import { failureOf } from './failures.ts'

export interface Bucket {
  readonly client: S3Client
  readonly name: string
  /** What the keys of all images begin with. */
  readonly prefix: string
}

/** What servers differ in. */
export interface Abilities {
  /** Whether an object's ETag is the MD5 of its bytes, as on most servers without encryption. */
  readonly etagIsMd5: boolean
  /** Whether the server heeds If-None-Match of an upload, or at least does not mind it. */
  readonly takesConditions: boolean
}

export interface OpenBucketOptions {
  /** Whether to make the bucket if it is missing. */
  readonly create: boolean
  /** For the text of errors. */
  readonly endpoint: string
  /** Aborted when a start has taken too long. */
  readonly signal: AbortSignal
}

/**
 * Proves at start that images can be listed, stored, read and deleted, making the bucket if need be. Rejects with a `StoreError`
 * that names the setting to change.
 */
export async function openBucket(bucket: Bucket, options: OpenBucketOptions): Promise<Abilities> {
  const { client, name, prefix } = bucket
  const { create, endpoint, signal } = options
  const send = { abortSignal: signal }
  const step = <T>(doing: string, call: () => Promise<T>): Promise<T> =>
    attempts(call, signal).catch((error) => {
      throw advise(error, { doing, bucket: name, prefix, endpoint, isOver: signal.aborted })
    })

  async function list() {
    const command = new ListObjectsV2Command({ Bucket: name, Prefix: prefix, MaxKeys: 1 })
    const { IsTruncated } = await client.send(command, send)
    // Any page of a web server is an empty list to the SDK.
    if (IsTruncated === undefined) throw new StoreError(noS3(endpoint))
  }

  await step('list', () =>
    list().catch(async (error) => {
      if (!create || failureOf(error).code !== 'NoSuchBucket') throw error
      const make = () => client.send(new CreateBucketCommand({ Bucket: name }), send)
      await step('make', () => make().catch(ignoreExisting))
      return list()
    }),
  )
  return tryOut(bucket, options, step)
}

type Step = <T>(doing: string, call: () => Promise<T>) => Promise<T>

/** Stores an object as an image would be stored, reads and deletes it. */
async function tryOut({ client, name, prefix }: Bucket, { endpoint, signal }: OpenBucketOptions, step: Step) {
  const send = { abortSignal: signal }
  const object = { Bucket: name, Key: `${prefix}.layover-${randomUUID()}` }
  const bytes = Buffer.from('Layover was here to see whether it can write. This may be deleted.')
  const md5 = createHash('md5').update(bytes).digest()
  const headers = { CacheControl: 'no-store', ContentType: 'text/plain', Expires: new Date() }
  const image = { ...object, ...headers, Body: bytes, ContentMD5: md5.toString('base64') }
  const put = (condition: object) => client.send(new PutObjectCommand({ ...image, ...condition }), send)
  const remove = () => client.send(new DeleteObjectCommand(object), send)

  let takesConditions = true
  try {
    const { ETag } = await step('write to', () =>
      put({ IfNoneMatch: '*' }).catch((error) => {
        const { status } = failureOf(error)
        // What an attempt stored whose answer was lost.
        if (status === 412) return put({})
        if (status !== 400 && status !== 501) throw error
        takesConditions = false
        return put({})
      }),
    )
    await step('read from', async () => {
      const { Body } = await client.send(new GetObjectCommand(object), send)
      const read = await Body?.transformToByteArray()
      const text = `S3_ENDPOINT: ${endpoint} gives back other bytes than it was given, so no image can be kept there`
      if (!bytes.equals(read ?? Buffer.of())) throw new StoreError(text)
    })
    await step('delete from', remove)
    return { etagIsMd5: ETag === `"${md5.toString('hex')}"`, takesConditions }
  } catch (error) {
    await remove().catch(() => {})
    throw error
  }
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
