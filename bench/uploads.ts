import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pngOfSize } from '../test/support/images.ts'
import { uploadMany } from '../test/support/many.ts'
import { variablesOf } from '../test/support/place.ts'
import { cpuSeconds } from '../test/support/process-facts.ts'
import { installedS3, startS3 } from '../test/support/s3-servers.ts'
import { type ServerProcess, startServer } from '../test/support/server.ts'
import type { PutLoopResult } from './put-loop.ts'

/**
 * Uploads a second, and the server's CPU time for one: `npm run bench`.
 *
 * On local disk, and on S3 beside a bare loop of PutObject with the same client and server. All are run in turn, round by round,
 * so that what else the machine does hits them alike: only the ratios of one run say something. Linux alone.
 */

const ROUNDS = 5
const COUNT = 1000
const SIZE = 50 * 1024
const CONNECTIONS = 16

interface Round {
  readonly seconds: number
  readonly cpuSeconds: number
}

const kind = installedS3()[0]
if (kind === undefined) throw new Error('no S3 server is installed (see test/support/s3-servers.ts)')
const s3 = await startS3(kind)
const bucket = 'bench'
const onS3 = await startServer({ env: { STORE: 's3', S3_BUCKET: bucket, ...variablesOf(s3) } })
const onDisk = await startServer()

const contestants: Record<string, () => Promise<Round>> = {
  'Layover, local disk': () => uploads(onDisk),
  [`Layover, S3 (${kind})`]: () => uploads(onS3),
  [`bare PutObject (${kind})`]: bareLoop,
}

try {
  const rounds = new Map<string, Round[]>()
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [name, run] of Object.entries(contestants)) {
      const result = await run()
      // The first is for warming up.
      if (round > 0) rounds.set(name, [...(rounds.get(name) ?? []), result])
    }
  }
  report(rounds)
} finally {
  for (const server of [onDisk, onS3]) await server[Symbol.asyncDispose]()
  await s3.stop()
}

async function uploads(server: ServerProcess): Promise<Round> {
  const [begun, before] = [performance.now(), await cpuSeconds(server.pid)]
  const image = pngOfSize(SIZE)
  const statuses = await uploadMany(server, { image, count: COUNT, connections: CONNECTIONS })
  if (statuses.some((status) => status !== 200)) throw new Error('an upload was refused')
  return { seconds: (performance.now() - begun) / 1000, cpuSeconds: (await cpuSeconds(server.pid)) - before }
}

async function bareLoop(): Promise<Round> {
  const { endpoint, accessKeyId, secretAccessKey } = s3
  const credentials = { accessKeyId, secretAccessKey }
  const loop = { endpoint, credentials, bucket, size: SIZE, count: COUNT, connections: CONNECTIONS }
  const script = join(import.meta.dirname, 'put-loop.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(loop)])
  return JSON.parse(stdout) as PutLoopResult
}

function report(rounds: ReadonlyMap<string, readonly Round[]>): void {
  const rows = [...rounds].map(([name, all]) => ({
    name,
    rate: median(all.map(({ seconds }) => COUNT / seconds)),
    cpu: median(all.map((round) => (round.cpuSeconds / COUNT) * 1000)),
  }))
  const bare = rows.at(-1)
  console.log(
    `${COUNT} uploads of ${SIZE / 1024} KB over ${CONNECTIONS} connections, medians of ${ROUNDS} rounds\n`,
  )
  console.log('| | uploads/s | of bare | CPU ms an upload | of bare |\n|---|---|---|---|---|')
  for (const { name, rate, cpu } of rows) {
    const [rateRatio, cpuRatio] = [rate / (bare?.rate ?? 1), cpu / (bare?.cpu ?? 1)]
    console.log(
      `| ${name} | ${rate.toFixed(0)} | ${rateRatio.toFixed(2)} | ${cpu.toFixed(2)} | ${cpuRatio.toFixed(2)} |`,
    )
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
