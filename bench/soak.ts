import { descriptorsOf, memoryOf } from '../test/support/process-facts.ts'
import { startServer } from '../test/support/server.ts'
import { randomOf, type Soaked, soakClients } from './soak-clients.ts'
import { type Hostility, hostileClients } from './soak-hostile.ts'

/**
 * A server under mixed load for a long time: `npm run soak -- --minutes 30`. Linux alone.
 *
 * All ways in, sizes from a pixel to 20 MB, clients that leave in the middle, bad input, readers,
 * and images that expire every few seconds. Beside them, hostile clients flood connections with
 * pipelined requests, and stall while they are sent images; nothing is expected for those. Fails
 * unless memory and descriptors stay flat, no well-behaved client is answered 5xx, every image that
 * lives is whole, and no temp file is left.
 */

const minutes = Number(process.argv[process.argv.indexOf('--minutes') + 1] || 30)
const [SEED, CLIENTS] = [20_261_121, 8]
/** Descriptors that come and go with the load. */
const FEW = 20

await using server = await startServer({
  env: { LIFETIME: '20s', SWEEP_INTERVAL: '5s', S3_PRESIGN_ENDPOINT: 'off', IDLE_TIMEOUT: '10s' },
})
const result: Soaked = { requests: 0, uploads: 0, aborts: 0, refusals: 0, faults: [] }
const hostility: Hostility = { floods: 0, stalls: 0 }
const samples: { memory: number; descriptors: number }[] = []
const stop = new AbortController()
const end = performance.now() + minutes * 60_000
const random = randomOf(SEED)
const clients = Array.from({ length: CLIENTS }, () =>
  soakClients({
    url: server.url,
    key: server.key(),
    random: randomOf(random() * 2 ** 32),
    result,
    signal: stop.signal,
  }),
)
const hostile = hostileClients({ url: server.url, key: server.key(), hostility, signal: stop.signal })

const begun = performance.now()
for (let minute = 1; performance.now() < end; ) {
  await new Promise((resolve) => setTimeout(resolve, 1000))
  samples.push({ memory: await memoryOf(server.pid), descriptors: await descriptorsOf(server.pid) })
  if (performance.now() - begun < minute * 60_000) continue
  const { memory, descriptors } = samples.at(-1) ?? {}
  const { requests, uploads, aborts, refusals, faults } = result
  console.log(
    `minute ${minute}: ${requests} requests, ${uploads} stored, ${aborts} aborted, ${refusals} refused, ${faults.length} faults, ${hostility.floods} floods, ${hostility.stalls} stalled, ${memory} MB, ${descriptors} descriptors`,
  )
  minute += 1
}
stop.abort()
await Promise.all([...clients, hostile])
// What was aborted last is still being removed.
await new Promise((resolve) => setTimeout(resolve, 3000))

const third = (index: number) =>
  samples.slice((samples.length * index) / 3, (samples.length * (index + 1)) / 3)
const mean = (part: typeof samples, of: 'memory' | 'descriptors') =>
  part.reduce((sum, sample) => sum + sample[of], 0) / part.length
const temps = (await server.files()).filter((name) => name.endsWith('.part'))
const [middle, last] = [third(1), third(2)]
const growth = mean(last, 'memory') / mean(middle, 'memory') - 1
const descriptors = mean(last, 'descriptors') - mean(middle, 'descriptors')
const verdicts = [
  [
    `memory: ${mean(middle, 'memory').toFixed(0)} → ${mean(last, 'memory').toFixed(0)} MB (${(growth * 100).toFixed(1)} %)`,
    growth < 0.1,
  ],
  [`descriptors: ${descriptors >= 0 ? '+' : ''}${descriptors.toFixed(1)}`, descriptors < FEW],
  [`faults (5xx, wrong bytes, wrong answers): ${result.faults.length}`, result.faults.length === 0],
  [`temp files left: ${temps.length}`, temps.length === 0],
  [`uploads: ${result.uploads}`, result.uploads > 0],
  [
    `hostile connections: ${hostility.floods} floods, ${hostility.stalls} stalled readers`,
    hostility.floods > 0 && hostility.stalls > 0,
  ],
] as const
for (const fault of result.faults.slice(0, 20)) console.log(`  ${fault}`)
for (const [text, isMet] of verdicts) console.log(`${isMet ? 'ok  ' : 'FAIL'} ${text}`)
process.exitCode = verdicts.every(([, isMet]) => isMet) ? 0 : 1
