import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { s3ClientOf, variablesOf } from '../test/support/place.ts'
import { installedS3, type S3Server, startS3 } from '../test/support/s3-servers.ts'
import { type Comparison, inTurn } from './compare.ts'
import { BARE, type Contestant, LAYOVER, type UploadForm } from './contestants/contestant.ts'
import { startLayover } from './contestants/layover.ts'
import { folderIn } from './folders.ts'
import type { Round } from './measure.ts'
import { end, firstLine, launch, onServerCore } from './process.ts'
import type { PutLoop, PutLoopResult } from './put-loop.ts'
import { say } from './say.ts'
import { KB, onS3, type UploadScenario } from './scenarios.ts'
import { uploadRound } from './uploads.ts'

const BUCKET = 'bench'
const SIZE = 50 * KB

export interface S3Options {
  readonly rounds: number
  readonly seconds: number
  readonly scripts: string
  readonly connections: readonly number[]
}

/** Uploads to S3 through Layover, beside a bare loop of PutObject; none where no S3 server is installed. */
export async function compareS3(base: string, options: S3Options): Promise<Comparison[]> {
  const [kind] = installedS3()
  if (kind === undefined) return []
  await using stack = new AsyncDisposableStack()
  const s3 = stack.adopt(await startS3(kind), (server) => server.stop())
  const folder = stack.use(await folderIn(base))
  const env = { STORE: 's3', S3_BUCKET: BUCKET, ...variablesOf(s3) }
  const started = stack.use(await startLayover({ dataDir: join(folder.path, 'layover'), env }))
  const { upload } = started
  if (upload === undefined) throw new Error('Layover takes no uploads')
  const layover: Contestant = { ...started, upload: { ...upload, ...objectsOf(s3) } }
  const bare: Contestant = { name: BARE, url: s3.endpoint, pid: 0, async [Symbol.asyncDispose]() {} }
  const comparisons: Comparison[] = []
  for (const connections of options.connections) {
    const scenario = scenarioOf(connections, options.seconds)
    const rounds = await inTurn([layover, bare], options.rounds, (server, isWarmUp) => {
      const run = { ...scenario, seconds: isWarmUp ? 1 : scenario.seconds, scripts: options.scripts }
      return server.name === LAYOVER ? uploadRound(server, run) : bareRound(s3, run)
    })
    say(scenario.title, rounds)
    comparisons.push({ scenario, rounds })
  }
  return comparisons
}

const scenarioOf = (connections: number, seconds: number): UploadScenario => ({
  kind: 'upload',
  title: onS3(SIZE, connections),
  size: SIZE,
  connections,
  medium: 'disk',
  contestants: [LAYOVER, BARE],
  seconds,
})

/** How images in the bucket are counted: only those since the last time that they were to be removed, which they are with the server. */
function objectsOf(access: S3Server): Pick<UploadForm, 'stored' | 'clear' | 'read'> {
  const client = s3ClientOf(access)
  let old = new Set<string>()
  async function keys(): Promise<string[]> {
    const found: string[] = []
    let from: string | undefined
    do {
      const page = await client.send(
        new ListObjectsV2Command({ Bucket: BUCKET, Prefix: 'images/', ContinuationToken: from }),
      )
      found.push(...(page.Contents ?? []).map(({ Key = '' }) => Key))
      from = page.NextContinuationToken
    } while (from !== undefined)
    return found
  }
  return {
    stored: async () => (await keys()).filter((key) => !old.has(key)),
    clear: async () => {
      old = new Set(await keys())
    },
    read: async (Key) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key }))
      return buffer(Body as Readable)
    },
  }
}

async function bareRound(
  { endpoint, accessKeyId, secretAccessKey }: S3Server,
  run: UploadScenario,
): Promise<Round> {
  const { size, seconds, connections } = run
  const credentials = { accessKeyId, secretAccessKey }
  const loop: PutLoop = { endpoint, credentials, bucket: BUCKET, size, seconds, connections }
  const script = join(import.meta.dirname, 'put-loop.ts')
  const child = launch([...onServerCore, process.execPath, script, JSON.stringify(loop)])
  const { cpuSeconds, ...result }: PutLoopResult = JSON.parse(await firstLine(child))
  await end(child)
  return {
    ...result,
    requestsPerSecond: result.requests / result.seconds,
    cpuMsPerRequest: (cpuSeconds / result.requests) * 1000,
    generatorShare: Number.NaN,
    busiest: 1,
    faults: '',
    bytes: 0,
  }
}
