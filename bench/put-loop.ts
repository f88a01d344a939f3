import { createHash } from 'node:crypto'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { s3Client } from '../src/store/s3/client.ts'
import { pngOfSize } from '../test/support/images.ts'

/**
 * The least that any server has to do for uploads to S3: a bare loop of PutObject, with the same SDK and the same settings. A
 * process of its own, so that its CPU time can be told: `node put-loop.ts <JSON of PutLoop>` prints JSON of `PutLoopResult`.
 */
export interface PutLoop {
  readonly endpoint: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  readonly bucket: string
  /** Of each object, in bytes. */
  readonly size: number
  readonly count: number
  /** Calls at once. */
  readonly connections: number
}

export interface PutLoopResult {
  readonly seconds: number
  readonly cpuSeconds: number
}

const { endpoint, credentials, bucket, size, count, connections }: PutLoop = JSON.parse(process.argv[2] ?? '')
const connection = { endpoint, credentials, region: 'us-east-1', forcePathStyle: true }
const client = s3Client(connection, { maxSockets: connections, silence: 0 })
const bytes = pngOfSize(size)
const md5 = createHash('md5').update(bytes).digest('base64')
const keys = Array.from({ length: count }, (_, i) => `bare/${process.pid}-${i}`).values()

async function putInTurn(): Promise<void> {
  for (const Key of keys)
    await client.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key,
        Body: bytes,
        ContentLength: size,
        ContentMD5: md5,
        ContentType: 'image/png',
      }),
    )
}

const begun = performance.now()
const cpuBefore = process.cpuUsage()
await Promise.all(Array.from({ length: connections }, putInTurn))
const { user, system } = process.cpuUsage(cpuBefore)
client.destroy()
const result: PutLoopResult = {
  seconds: (performance.now() - begun) / 1000,
  cpuSeconds: (user + system) / 1e6,
}
console.log(JSON.stringify(result))
