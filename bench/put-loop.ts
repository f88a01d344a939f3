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
  /** For how long it runs, after a second to warm up. */
  readonly seconds: number
  /** Calls at once. */
  readonly connections: number
}

export interface PutLoopResult {
  readonly requests: number
  readonly seconds: number
  readonly cpuSeconds: number
  readonly p99Ms: number
  /** MB. */
  readonly peakMemory: number
}

const WARM_UP = 1000

const { endpoint, credentials, bucket, size, seconds, connections }: PutLoop = JSON.parse(
  process.argv[2] ?? '',
)
const connection = { endpoint, credentials, region: 'us-east-1', forcePathStyle: true }
const client = s3Client(connection, { maxSockets: connections, silence: 0 })
const bytes = pngOfSize(size)
const md5 = createHash('md5').update(bytes).digest('base64')
let made = 0

/** Puts objects until a time, one after the other, and adds what each took in milliseconds. */
async function putUntil(end: number, times: number[]): Promise<void> {
  while (performance.now() < end) {
    const begun = performance.now()
    made += 1
    await client.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: `bare/${process.pid}-${made}`,
        Body: bytes,
        ContentLength: size,
        ContentMD5: md5,
        ContentType: 'image/png',
      }),
    )
    times.push(performance.now() - begun)
  }
}

async function putAll(milliseconds: number): Promise<number[]> {
  const times: number[] = []
  const end = performance.now() + milliseconds
  await Promise.all(Array.from({ length: connections }, () => putUntil(end, times)))
  return times
}

await putAll(WARM_UP)
const begun = performance.now()
const cpuBefore = process.cpuUsage()
const times = await putAll(seconds * 1000)
const { user, system } = process.cpuUsage(cpuBefore)
const result: PutLoopResult = {
  requests: times.length,
  seconds: (performance.now() - begun) / 1000,
  cpuSeconds: (user + system) / 1e6,
  p99Ms: times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.NaN,
  peakMemory: process.resourceUsage().maxRSS / 1024,
}
client.destroy()
process.stdout.write(`${JSON.stringify(result)}\n`)
