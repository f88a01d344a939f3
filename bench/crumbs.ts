import { readFile } from 'node:fs/promises'
import { pngOfSize } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { startServer } from '../test/support/server.ts'
import { exchange, requestHead } from '../test/support/socket.ts'

/**
 * CPU time of the server for a megabyte of body that comes in chunks of a byte, by each way in: `node bench/crumbs.ts`.
 *
 * Linux alone.
 */

const SIZE = Number(process.argv[2] ?? 50_000)
const CHUNK = Number(process.argv[3] ?? 1)
/** The unit of CPU time in /proc, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

await using server = await startServer({ env: { LOG_LEVEL: 'info' } })
const image = pngOfSize(SIZE)
const form = uploadOf(image)
const ways = {
  multipart: { path: '/api/upload', type: form.contentType, body: form.body },
  base64: {
    path: '/v1/files/uploads/base64',
    type: 'application/json',
    body: Buffer.from(JSON.stringify({ data: image.toString('base64') })),
  },
}

for (const [name, { path, type, body }] of Object.entries(ways)) {
  const head = requestHead(`POST ${path}`, {
    Authorization: `Bearer ${server.key()}`,
    'Content-Type': type,
    'Transfer-Encoding': 'chunked',
  })
  const pieces = Array.from({ length: Math.ceil(body.length / CHUNK) }, (_, i) => {
    const piece = body.subarray(i * CHUNK, (i + 1) * CHUNK)
    return Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')])
  })
  const sent = Buffer.concat([...pieces, Buffer.from('0\r\n\r\n')])
  for (const round of [0, 1]) {
    const before = await cpuSeconds(server.pid)
    const { status } = await exchange(Number(new URL(server.url).port), head, sent)
    const seconds = (await cpuSeconds(server.pid)) - before
    const rate = seconds / (body.length / 1024 ** 2)
    if (round === 1)
      console.log(`${name}: ${status}, ${seconds.toFixed(2)} s of CPU, ${rate.toFixed(2)} s a MB`)
  }
}

/** Of all threads of a process, so far. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number)
  return (user + system) / TICKS_PER_SECOND
}
