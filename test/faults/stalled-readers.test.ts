import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { pngOfSize } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { descriptorsOf, memoryOf } from '../support/process-facts.ts'
import { startServer } from '../support/server.ts'
import { eventually, requestHead } from '../support/socket.ts'

const READERS = 2000
const AT_ONCE = 50
const UPLOADS = 20

/**
 * A client that asks and never reads: nothing is taken from the system, not even at first, when
 * `pause` comes after `connect`.
 */
function stalled(port: number, path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }).pause()
    socket.once('error', reject)
    socket.once('connect', () => socket.write(requestHead(`GET ${path}`), () => resolve(socket)))
  })
}

test('2000 readers that never read an image of 20 MB cost 200 MB at most, and uploads go on', async () => {
  await using server = await startServer()
  const form = uploadOf(pngOfSize(20 * 1024 ** 2))
  const response = await fetch(`${server.url}/api/upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key()}`, 'content-type': form.contentType },
    body: new Uint8Array(form.body),
  })
  const path = new URL(((await response.json()) as { data: string }).data).pathname
  const before = await memoryOf(server.pid)

  const port = Number(new URL(server.url).port)
  const readers: Socket[] = []
  while (readers.length < READERS)
    readers.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => stalled(port, path)))))
  // Each has its connection and its file.
  await eventually(async () => (await descriptorsOf(server.pid)) >= 2 * READERS, 20_000)
  // Until the system has taken all it takes.
  let memory = 0
  await eventually(async () => {
    const last = memory
    await new Promise((resolve) => setTimeout(resolve, 500))
    memory = await memoryOf(server.pid)
    return memory - last < 5
  }, 20_000)
  expect(memory - before).toBeLessThan(200)

  const uploads = await Promise.all(Array.from({ length: UPLOADS }, () => server.upload('photo.png')))
  expect(uploads.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(UPLOADS - 1)
  expect((await fetch(`${server.url}${path}`, { method: 'HEAD' })).status).toBe(200)
  for (const socket of readers) socket.destroy()
}, 60_000)
