import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { slowBody } from './slow-links.ts'

/** Uploads over slow links, in a process of their own: `node slow-clients.ts <JSON of SlowClients>` prints JSON of their statuses. */
export interface SlowClients {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Bytes of each image. */
  readonly size: number
  /** All at once. */
  readonly count: number
  /** Bytes a second, of all together. */
  readonly rate: number
}

/** Bytes that one sends at a time. */
const PIECE = 32 * 1024

async function uploadSlowly({ url, headers, count, rate }: SlowClients, body: Buffer): Promise<number> {
  const pause = ((PIECE * count) / rate) * 1000
  const length = { 'content-length': body.length }
  const sent = request(url, { method: 'POST', headers: { ...headers, ...length }, agent: false })
  const answered = new Promise<number>((resolve, reject) => {
    sent.on('error', reject).on('response', (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0))
    })
  })
  answered.catch(() => {})
  sent.flushHeaders()
  let due = performance.now() + Math.random() * pause
  for (let offset = 0; offset < body.length && !sent.destroyed; offset += PIECE) {
    await sleep(Math.max(0, due - performance.now()))
    due += pause
    // Where the server does not take it, the link is slower still.
    if (!sent.write(body.subarray(offset, offset + PIECE)))
      await Promise.race([new Promise((resolve) => sent.once('drain', resolve)), answered])
  }
  sent.end()
  return answered
}

const order: SlowClients = JSON.parse(process.argv[2] ?? '')
const body = slowBody(order.size)
const statuses = await Promise.all(Array.from({ length: order.count }, () => uploadSlowly(order, body)))
process.stdout.write(`${JSON.stringify(statuses)}\n`)
