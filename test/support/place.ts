import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import {
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3'
import type { S3Access } from './s3-servers.ts'

/** Where the server of a test keeps its images: below its data folder, or in a bucket of its own. */
export interface Place {
  /** Variables that make a server use it. */
  readonly env: Readonly<Record<string, string>>
  /** Names of all images and temp files, finished or not. */
  files(): Promise<string[]>
}

/** The place that belongs to a data folder, always the same one. */
export function placeOf(dir: string): Place {
  const { TEST_STORE } = process.env
  if (TEST_STORE === undefined) return { env: {}, files: () => filesBelow(dir) }
  const { runId, ...access } = JSON.parse(TEST_STORE) as S3Access & { runId: string }
  const bucket = `${bucketPrefix(runId)}${createHash('sha256').update(dir).digest('hex').slice(0, 16)}`
  return {
    env: { STORE: 's3', S3_BUCKET: bucket, ...variablesOf(access) },
    files: async () => [...(await filesBelow(dir)), ...(await namesIn(access, bucket))],
  }
}

/** What the names of all buckets of a run begin with. */
export const bucketPrefix = (runId: string) => `layover-test-${runId}-`

/** Removes all buckets whose names begin so, with what is in them. */
export async function removeBuckets(access: S3Access, prefix: string): Promise<void> {
  const client = s3ClientOf(access)
  const { Buckets = [] } = await client.send(new ListBucketsCommand())
  for (const { Name: Bucket = '' } of Buckets.filter(({ Name }) => Name?.startsWith(prefix))) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }))
    for (const { Key } of Contents) await client.send(new DeleteObjectCommand({ Bucket, Key }))
    await client.send(new DeleteBucketCommand({ Bucket }))
  }
  client.destroy()
}

/** The configuration that leads to a server. */
export function variablesOf({ endpoint, accessKeyId, secretAccessKey }: S3Access) {
  return {
    S3_ENDPOINT: endpoint,
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey,
  }
}

/** A client of the tests' own. */
export function s3ClientOf({ endpoint, ...credentials }: S3Access): S3Client {
  return new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true })
}

/** The last parts of a bucket's keys, at most a thousand. */
async function namesIn(access: S3Access, bucket: string): Promise<string[]> {
  const client = s3ClientOf(access)
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  client.destroy()
  return Contents.map(({ Key = '' }) => Key.slice(Key.lastIndexOf('/') + 1))
}

/** Names of the images and temp files of a data folder. */
async function filesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  // What Node makes of the code lies there, too.
  const isCode = (path: string) => path.startsWith(join(dir, 'compiled'))
  const files = entries.filter((entry) => entry.isFile() && entry.parentPath !== dir)
  return files.filter((entry) => !isCode(entry.parentPath)).map(({ name }) => name)
}
