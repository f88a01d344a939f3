import { expect, test } from 'vitest'
import { fixture, pngOfSize } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { descriptorsOf, memoryOf } from '../support/process-facts.ts'
import { startServer } from '../support/server.ts'
import { openSlowClients } from '../support/slow-clients.ts'
import { eventually } from '../support/socket.ts'

const EACH = 500

test('2000 slow clients keep nobody from being served, and all are cut when their time is up', async () => {
  const env = { IDLE_TIMEOUT: '10s', MAX_CONCURRENT_UPLOADS: '1000' }
  await using server = await startServer({ env })
  const authorization = `Bearer ${server.key()}`
  const form = uploadOf(pngOfSize(20 * 1024 ** 2))
  const response = await fetch(`${server.url}/api/upload`, {
    method: 'POST',
    headers: { authorization, 'content-type': form.contentType },
    body: new Uint8Array(form.body),
  })
  const { data } = (await response.json()) as { data: string }
  const path = new URL(data).pathname
  const before = { descriptors: await descriptorsOf(server.pid), memory: await memoryOf(server.pid) }

  const port = Number(new URL(server.url).port)
  using slow = await openSlowClients({ port, authorization, imagePath: path, each: EACH })
  expect(slow.open()).toBeGreaterThan(3 * EACH)
  for (let round = 0; round < 20; round += 1) {
    const stored = await server.upload('photo.png')
    expect(stored.status).toBe(200)
    const { data } = (await stored.json()) as { data: string }
    const image = await fetch(data)
    expect(Buffer.from(await image.arrayBuffer()).equals(fixture('photo.png'))).toBe(true)
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
  }

  expect(await descriptorsOf(server.pid)).toBeGreaterThan(before.descriptors + 2 * EACH)
  // Fetch keeps some connections of its own.
  await eventually(async () => (await descriptorsOf(server.pid)) < before.descriptors + 20, 40_000)
  // All but those that do not read know it.
  await eventually(() => slow.open() <= EACH)
  await eventually(async () => (await server.files()).every((name) => !name.endsWith('.part')))
  // Each upload lets the collector see what is free; some of it the allocator keeps for the next crowd.
  await eventually(async () => {
    expect((await server.upload('photo.png')).status).toBe(200)
    return (await memoryOf(server.pid)) < before.memory + 350
  })
}, 90_000)
