import { Agent, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { pngOfSize } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { descriptorsOf, memoryOf } from '../test/support/process-facts.ts'
import { startServer } from '../test/support/server.ts'
import { openSlowClients } from '../test/support/slow-clients.ts'

/**
 * What 2000 slow clients do to fast ones: `npm run bench:slow`.
 *
 * Rounds with them and without take turns, so that what else the machine does hits both alike: only the ratios say something. Linux alone.
 */

const [ROUNDS, COUNT, EACH, LIMIT] = [3, 400, 500, 5]

await using server = await startServer({ env: { MAX_CONCURRENT_UPLOADS: '1000' } })
const authorization = `Bearer ${server.key()}`
const port = Number(new URL(server.url).port)
const agent = new Agent({ keepAlive: true, maxSockets: 4 })
const form = uploadOf(pngOfSize(50 * 1024))
const large = await upload(uploadOf(pngOfSize(20 * 1024 ** 2)))

async function send(path: string, method = 'GET', headers = {}, body?: Buffer): Promise<Buffer> {
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    request(`${server.url}${path}`, { agent, method, headers }, resolve).on('error', reject).end(body)
  })
  if (response.statusCode !== 200) throw new Error(`${method} ${path}: ${response.statusCode}`)
  return buffer(response)
}

async function upload({ body, contentType }: ReturnType<typeof uploadOf>): Promise<string> {
  const headers = { authorization, 'content-type': contentType, 'content-length': body.length }
  return new URL(JSON.parse(String(await send('/api/upload', 'POST', headers, body))).data).pathname
}

/** Milliseconds that each of many uploads and GETs took, four at once. */
async function measure() {
  const times = { uploads: [] as number[], gets: [] as number[] }
  const turn = async () => {
    for (let i = 0; i < COUNT / 4; i += 1) {
      const begun = performance.now()
      const path = await upload(form)
      const between = performance.now()
      await send(path)
      times.uploads.push(between - begun)
      times.gets.push(performance.now() - between)
    }
  }
  await Promise.all(Array.from({ length: 4 }, turn))
  return { uploads: p99(times.uploads), gets: p99(times.gets) }
}

const p99 = (times: number[]) =>
  times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.NaN

await measure()
let worst = 0
for (let round = 1; round <= ROUNDS; round += 1) {
  const alone = await measure()
  using slow = await openSlowClients({ port, authorization, imagePath: large, each: EACH, renew: true })
  const beside = await measure()
  const facts = `${slow.open()} slow clients, ${await descriptorsOf(server.pid)} descriptors, ${await memoryOf(server.pid)} MB`
  const ratios = { uploads: beside.uploads / alone.uploads, gets: beside.gets / alone.gets }
  worst = Math.max(worst, ratios.uploads, ratios.gets)
  console.log(
    `p99 of uploads ${alone.uploads.toFixed(1)} → ${beside.uploads.toFixed(1)} ms (× ${ratios.uploads.toFixed(1)}), ` +
      `of GETs ${alone.gets.toFixed(1)} → ${beside.gets.toFixed(1)} ms (× ${ratios.gets.toFixed(1)}); ${facts}`,
  )
}
agent.destroy()
console.log(`The worst is × ${worst.toFixed(1)} (limit × ${LIMIT}: ${worst < LIMIT ? 'met' : 'not met'})`)
process.exitCode = worst < LIMIT ? 0 : 1
