import { Readable } from 'node:stream'
import { type FastifyRequest, fastify } from 'fastify'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openAdmission } from '../../src/admission.ts'
import { toProblem } from '../../src/answer-problem.ts'
import { openBody } from '../../src/intake/body.ts'
import { OVERHEAD } from '../../src/intake/incoming.ts'

const MAX_FILE_SIZE = 1_000_000

let app = fastify()
afterEach(() => app.close())

const idle = { mean: 0, watch: () => {}, close: () => {} }
const one = { isShared: () => false }
const several = { isShared: () => true }

/**
 * Uploads whose handlers read the body and go on until they are released, on a disk with so much
 * room.
 */
async function openDoors({ room, minFreeSpace = 1 }: { room: () => number; minFreeSpace?: number }) {
  app = fastify()
  const config = {
    ...{ maxConcurrentUploads: 0, maxKeyShare: 50, maxMemory: 0 },
    ...{ maxFileSize: MAX_FILE_SIZE, minFreeSpace },
  }
  const spool = {
    headroom: async () => {
      const answer = room()
      // All who ask together are answered together.
      await new Promise((resolve) => setTimeout(resolve, 10))
      return answer
    },
  }
  const doors = openAdmission({ config, keyring: one, spool, loop: idle })
  app.decorate('minUploadRate', 0)
  app.decorate('paceWindow', 1)
  app.addHook('onClose', async () => doors.close())
  const waiting: (() => void)[] = []
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.setErrorHandler((error, _request, reply) => {
    return reply.code(503).send({ code: toProblem(error).code })
  })
  const handler = async (request: FastifyRequest) => {
    // Which a real connection says.
    request.raw.once('end', () => {
      request.raw.complete = true
    })
    for await (const _piece of openBody(request, 1e9));
    await new Promise<void>((resolve) => waiting.push(resolve))
    return { code: 'ok' }
  }
  const keyId = () => 'key'
  app.post('/', { onRequest: doors.mayUpload({ keyId }) }, handler)
  app.post('/url', { onRequest: doors.mayUpload({ keyId, bytes: MAX_FILE_SIZE }) }, handler)
  const send = async (bytes: number | undefined, url = '/') => {
    const payload = bytes === undefined ? Readable.from([Buffer.from('some')]) : Buffer.alloc(bytes)
    return (await app.inject({ method: 'POST', url, payload })).json().code
  }
  const release = () => {
    for (const go of waiting.splice(0)) go()
  }
  return { send, waiting, release }
}

test('uploads that come together do not get more room than there is', async () => {
  const { send, waiting, release } = await openDoors({ room: () => 1_000_000 })
  const answers = Array.from({ length: 10 }, () => send(300_000))
  await vi.waitFor(() => expect(waiting).toHaveLength(3))
  release()
  const codes = await Promise.all(answers)
  expect(codes.filter((code) => code === 'ok')).toHaveLength(3)
  expect(codes.filter((code) => code === 'server_busy')).toHaveLength(7)
})

test('what was promised to one is free again when it is done, as to one that was refused', async () => {
  const { send, waiting, release } = await openDoors({ room: () => 1_000_000 })
  for (let round = 0; round < 3; round += 1) {
    const answer = send(800_000)
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    expect(await send(300_000)).toBe('server_busy')
    release()
    expect(await answer).toBe('ok')
  }
})

test('one that does not say how much it brings may bring the most', async () => {
  const { send, waiting, release } = await openDoors({ room: () => MAX_FILE_SIZE + OVERHEAD + 100 })
  const answer = send(undefined)
  await vi.waitFor(() => expect(waiting).toHaveLength(1))
  expect(await send(200)).toBe('server_busy')
  const small = send(100)
  await vi.waitFor(() => expect(waiting).toHaveLength(2))
  release()
  expect(await Promise.all([answer, small])).toEqual(['ok', 'ok'])
})

test('one that fetches what it stores counts with that, not with its own body', async () => {
  const { send, waiting, release } = await openDoors({ room: () => MAX_FILE_SIZE })
  const answer = send(100, '/url')
  await vi.waitFor(() => expect(waiting).toHaveLength(1))
  expect(await send(100, '/url')).toBe('server_busy')
  release()
  expect(await answer).toBe('ok')
})

test('where there is no room even for one alone, the disk is full', async () => {
  const { send } = await openDoors({ room: () => 1000 })
  expect(await send(1001)).toBe('storage_full')
})

test('MIN_FREE_SPACE=0 asks for no room', async () => {
  const { send, waiting, release } = await openDoors({ room: () => 0, minFreeSpace: 0 })
  const answer = send(1000)
  await vi.waitFor(() => expect(waiting).toHaveLength(1))
  release()
  expect(await answer).toBe('ok')
})

test('one that does not say how much it brings, where there is room for less, may come again', async () => {
  const { send } = await openDoors({ room: () => 1000 })
  expect(await send(undefined)).toBe('server_busy')
})

describe('a slot', () => {
  const spool = { headroom: async () => 1e12 }
  const config = {
    ...{ maxConcurrentUploads: 1, maxKeyShare: 50, maxMemory: 0 },
    ...{ maxFileSize: MAX_FILE_SIZE, minFreeSpace: 1 },
  }

  test('taken without a request counts as any other, until it is given back', async () => {
    const doors = openAdmission({ config, keyring: one, spool, loop: idle })
    const slot = await doors.take(10, 'a')
    await expect(doors.take(10, 'a')).rejects.toMatchObject({ limit: 'MAX_CONCURRENT_UPLOADS' })
    slot[Symbol.dispose]()
    slot[Symbol.dispose]()
    const next = await doors.take(10, 'a')
    await expect(doors.take(10, 'a')).rejects.toMatchObject({ code: 'server_busy' })
    next[Symbol.dispose]()
  })

  test('beyond its share is not given to a key, unless it is the only one', async () => {
    const ofFive = { ...config, maxConcurrentUploads: 5 }
    const doors = openAdmission({ config: ofFive, keyring: several, spool, loop: idle })
    const held = [await doors.take(10, 'a'), await doors.take(10, 'a'), await doors.take(10, 'a')]
    await expect(doors.take(10, 'a')).rejects.toMatchObject({ code: 'server_busy', limit: 'MAX_KEY_SHARE' })
    held.push(await doors.take(10, 'b'))
    for (const slot of held) slot[Symbol.dispose]()
    const alone = openAdmission({ config: ofFive, keyring: one, spool, loop: idle })
    for (let i = 0; i < 5; i += 1) await alone.take(10, 'a')
    await expect(alone.take(10, 'a')).rejects.toMatchObject({ limit: 'MAX_CONCURRENT_UPLOADS' })
  })

  test('is given to a few whatever memory and event loop say, and to no more', async () => {
    const loop = { ...idle, mean: 0 }
    const large = { ...config, maxConcurrentUploads: 0, maxMemory: 1 }
    const doors = openAdmission({ config: large, keyring: several, spool, loop })
    const few = await Promise.all([1, 2, 3, 4].map(() => doors.take(10, 'a')))
    await expect(doors.take(10, 'b')).rejects.toMatchObject({ limit: 'MAX_MEMORY' })
    loop.mean = 700
    await expect(doors.take(10, 'b')).rejects.toMatchObject({ limit: 'event_loop' })
    few.pop()?.[Symbol.dispose]()
    few.push(await doors.take(10, 'b'))
    for (const slot of few) slot[Symbol.dispose]()
  })

  test('that there is no room for is free at once', async () => {
    const rooms = [5, 1e12]
    const doors = openAdmission({
      ...{ config, keyring: one, loop: idle },
      spool: { headroom: async () => rooms.shift() ?? 0 },
    })
    await expect(doors.take(10, 'a')).rejects.toMatchObject({ limit: 'MIN_FREE_SPACE' })
    ;(await doors.take(10, 'a'))[Symbol.dispose]()
  })
})
