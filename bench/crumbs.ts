import { pngOfSize } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { cpuSeconds } from '../test/support/process-facts.ts'
import { startServer } from '../test/support/server.ts'
import { exchange, requestHead } from '../test/support/socket.ts'

/**
 * CPU time of the server for a megabyte of body that comes in chunks of a byte: `node bench/crumbs.ts [SIZE [CHUNK]]`. Linux alone.
 */

/** Of the image, and of each chunk, in bytes. */
const [SIZE = 45_000, CHUNK = 1] = process.argv.slice(2).map(Number)

await using server = await startServer()
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
