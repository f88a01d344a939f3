import { fastify } from 'fastify'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openAdmission } from '../../src/admission.ts'
import type { Problem } from '../../src/errors.ts'
import { OVERHEAD } from '../../src/intake/incoming.ts'
import { watchLoop } from '../../src/loop-delay.ts'
import { StorageFull } from '../../src/store/store.ts'

const MAX_FILE_SIZE = 1_000_000

let app = fastify()
afterEach(() => app.close())

/** Uploads whose handlers go on until they are released, on a disk with so much room. */
async function openDoors({ room, minFreeSpace = 1 }: { room: () => number; minFreeSpace?: number }) {
  app = fastify()
  const config = { maxConcurrentUploads: 0, maxMemory: 0, maxFileSize: MAX_FILE_SIZE, minFreeSpace }
  const spool = {
    headroom: async () => {
      const answer = room()
      // All who ask together are answered together.
      await new Promise((resolve) => setTimeout(resolve, 10))
      return answer
    },
  }
  const doors = openAdmission({ config, spool })
  app.addHook('onClose', async () => doors.close())
  const waiting: (() => void)[] = []
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.setErrorHandler((error, _request, reply) => {
    const code = error instanceof StorageFull ? 'storage_full' : (error as Problem).code
    return reply.code(503).send({ code })
  })
  const handler = async () => {
    await new Promise<void>((resolve) => waiting.push(resolve))
    return { code: 'ok' }
  }
  app.post('/', { onRequest: doors.mayUpload() }, handler)
  app.post('/url', { onRequest: doors.mayUpload({ bytes: MAX_FILE_SIZE }) }, handler)
  const send = async (bytes: number | undefined, url = '/') => {
    const headers = bytes === undefined ? {} : { 'content-length': String(bytes) }
    return (await app.inject({ method: 'POST', url, headers })).json().code
  }
  const release = () => {
    for (const go of waiting.splice(0)) go()
  }
  return { send, waiting, release }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 50))

test('uploads that come together do not get more room than there is', async () => {
  const { send, waiting, release } = await openDoors({ room: () => 1_000_000 })
  const answers = Array.from({ length: 10 }, () => send(300_000))
  await settled()
  expect(waiting).toHaveLength(3)
  release()
  const codes = await Promise.all(answers)
  expect(codes.filter((code) => code === 'ok')).toHaveLength(3)
  expect(codes.filter((code) => code === 'server_busy')).toHaveLength(7)
})

test('what was promised to one is free again when it is done, as to one that was refused', async () => {
  const { send, waiting, release } = await openDoors({ room: () => 1_000_000 })
  for (let round = 0; round < 3; round += 1) {
    const answer = send(800_000)
    await settled()
    expect(waiting).toHaveLength(1)
    expect(await send(300_000)).toBe('server_busy')
    release()
    expect(await answer).toBe('ok')
  }
})

test('one that does not say how much it brings may bring the most', async () => {
  const { send, waiting, release } = await openDoors({ room: () => MAX_FILE_SIZE + OVERHEAD + 100 })
  const answer = send(undefined)
  await settled()
  expect(waiting).toHaveLength(1)
  expect(await send(200)).toBe('server_busy')
  const small = send(100)
  await settled()
  release()
  expect(await Promise.all([answer, small])).toEqual(['ok', 'ok'])
})

test('one that fetches what it stores counts with that, not with its own body', async () => {
  const { send, waiting, release } = await openDoors({ room: () => MAX_FILE_SIZE })
  const answer = send(100, '/url')
  await settled()
  expect(waiting).toHaveLength(1)
  expect(await send(100, '/url')).toBe('server_busy')
  release()
  expect(await answer).toBe('ok')
})

test('where there is no room even for one alone, the disk is full', async () => {
  const { send } = await openDoors({ room: () => 1000 })
  expect(await send(1001)).toBe('storage_full')
})

test('MIN_FREE_SPACE=0 asks for no room', async () => {
  const { send, release } = await openDoors({ room: () => 0, minFreeSpace: 0 })
  const answer = send(1000)
  await settled()
  release()
  expect(await answer).toBe('ok')
})

test('one that does not say how much it brings, where there is room for less, may come again', async () => {
  const { send } = await openDoors({ room: () => 1000 })
  expect(await send(undefined)).toBe('server_busy')
})

describe('a place', () => {
  const spool = { headroom: async () => 1e12 }
  const config = { maxConcurrentUploads: 1, maxMemory: 0, maxFileSize: MAX_FILE_SIZE, minFreeSpace: 1 }

  test('taken without a request counts as any other, until it is given back', async () => {
    const doors = openAdmission({ config, spool })
    const place = await doors.take(10)
    await expect(doors.take(10)).rejects.toMatchObject({ code: 'server_busy' })
    place[Symbol.dispose]()
    place[Symbol.dispose]()
    const next = await doors.take(10)
    await expect(doors.take(10)).rejects.toMatchObject({ code: 'server_busy' })
    next[Symbol.dispose]()
    doors.close()
  })

  test('is not taken while the event loop is far behind, but whatever there is of memory, a few are', async () => {
    const loop = { mean: 0, close: () => {} }
    const doors = openAdmission({ config: { ...config, maxConcurrentUploads: 0, maxMemory: 1 }, spool, loop })
    const few = await Promise.all([1, 2, 3, 4].map(() => doors.take(10)))
    await expect(doors.take(10)).rejects.toMatchObject({ code: 'server_busy' })
    few[0]?.[Symbol.dispose]()
    loop.mean = 700
    await expect(doors.take(10)).rejects.toMatchObject({ code: 'server_busy' })
    loop.mean = 500
    few[0] = await doors.take(10)
    for (const place of few) place[Symbol.dispose]()
  })
})

describe('how far the loop is behind', () => {
  /** Turns of the loop that take so many milliseconds, one after the other, for ten seconds. */
  function delayOf(turns: readonly number[]): number {
    vi.useFakeTimers()
    let time = 0
    const loop = watchLoop(() => time)
    for (let i = 0; time < 10_000; i += 1) {
      time += 100 + (turns[i % turns.length] ?? 0)
      vi.advanceTimersByTime(100)
    }
    const { mean } = loop
    loop.close()
    vi.useRealTimers()
    return mean
  }

  test('is what somebody has to wait for, not what most turns take', () => {
    expect(delayOf([0])).toBe(0)
    expect(delayOf([20])).toBeLessThan(30)
    expect(delayOf([900])).toBeGreaterThan(700)
    // Three seconds of stall in each three and a half, beside many turns without.
    expect(delayOf([3000, 0, 0, 0, 0])).toBeGreaterThan(2000)
    // One stall alone.
    expect(delayOf([1500, ...Array.from({ length: 100 }, () => 0)])).toBeLessThan(400)
  })
})
