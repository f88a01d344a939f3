import { Agent } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pngOfSize } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { canTrace, trace } from '../support/strace.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

/**
 * What a request costs, in system calls: a guard against slow-downs that nobody sees, as no test can tell by the time it takes. Whoever
 * makes one cheaper lowers its bound.
 */

const ROUNDS = 40
const WARM = 5
const SMALL = pngOfSize(50 * 1024)
const LARGE = pngOfSize(5 * 1024 ** 2)

let server: ServerProcess
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
beforeAll(async () => {
  server = await startServer({ env: { ...OWN_KEY, SWEEP_INTERVAL: '0' } })
})
afterAll(async () => {
  agent.destroy()
  await server[Symbol.asyncDispose]()
})

/** System calls of each round of some work, on average: of files by their name, and of all else that a thread does to wake another. */
async function costOf(work: () => Promise<unknown>): Promise<Record<string, number>> {
  // What is done once, such as to start a thread, is not what it costs.
  for (let round = 0; round < WARM; round += 1) await work()
  await using tracing = await trace(server.pid, ['-e', 'trace=%file,%desc'])
  for (let round = 0; round < ROUNDS; round += 1) await work()
  const calls = (await tracing.calls()).flatMap((line) => nameOf(line) ?? [])
  const counts = Map.groupBy(calls, (name) => name)
  return Object.fromEntries([...counts].map(([name, all]) => [name, all.length / ROUNDS]))
}

/** Calls whose number depends on how threads happen to meet, and those of a memory that is looked at now and then. */
const CHANCE = /^(epoll|poll|ppoll|ioctl|io_uring|mmap|munmap|madvise)/
const BESIDE = /<\/proc\/|"\/proc\//

function nameOf(line: string): string | undefined {
  const [, name = ''] = /^\d+ +(\w+)\(/.exec(line) ?? []
  if (name === '' || CHANCE.test(name) || BESIDE.test(line)) return undefined
  // Gathered for a second, so that it is the same for any number of images that are fetched more often.
  if (line.includes('/receipts.sqlite')) return 'receipts'
  if (/eventfd/.test(line)) return 'wake'
  if (/<(socket|TCP)/.test(line)) return `socket ${name}`
  return name
}

/** To make an image's file durable under its name: the file, its name, and the folder that is shared by those at once. */
const FILE = { openat: 2, close: 2, fdatasync: 1, fsync: 1, link: 1, unlink: 1 }
/** The request, its answer, and now and then lines of the log. Receipts are written once a second, whatever there was to write. */
const SOCKET = { 'socket read': 1, 'socket write': 2, 'socket writev': 1 }

/** Each bound is what was measured when it was set, and a little for what happens now and then. */
function expectAtMost(cost: Readonly<Record<string, number>>, most: Readonly<Record<string, number>>) {
  const beyond = Object.entries(cost).filter(([name, count]) => count > (most[name] ?? 0) + 0.3)
  expect(Object.fromEntries(beyond), `of ${JSON.stringify(cost)}`).toEqual({})
}

describe.skipIf(!canTrace)('no more system calls than now are made for', () => {
  test('an upload of 50 KB', async () => {
    const cost = await costOf(() => WAYS.form(server.url, SMALL, agent))
    expectAtMost(cost, { ...FILE, ...SOCKET, write: 1, statx: 1, statfs: 1, wake: 24 })
  })

  test('an upload of 5 MB', async () => {
    const cost = await costOf(() => WAYS.form(server.url, LARGE, agent))
    expectAtMost(cost, {
      ...FILE,
      ...SOCKET,
      'socket read': 90,
      pwrite64: 40,
      statx: 1,
      statfs: 1,
      wake: 150,
    })
  })

  test('an image that is asked for the first time', async () => {
    const paths: string[] = []
    for (let made = 0; made < ROUNDS + WARM; made += 1)
      paths.push((await WAYS.form(server.url, SMALL, agent)).path ?? '')
    const cost = await costOf(() => call(server.url + paths.pop(), { agent }))
    expectAtMost(cost, { ...SOCKET, receipts: 1, openat: 1, statx: 1, pread64: 1, close: 1, wake: 12 })
  })

  test('an image that is asked for again', async () => {
    const { path } = await WAYS.form(server.url, SMALL, agent)
    const cost = await costOf(() => call(server.url + path, { agent }))
    expectAtMost(cost, { ...SOCKET, receipts: 1, statx: 1, wake: 8 })
  })

  test('an image that the client has', async () => {
    const { path = '' } = await WAYS.form(server.url, SMALL, agent)
    const headers = { 'if-none-match': `"${path.split('/').at(-1)}"` }
    const cost = await costOf(() => call(server.url + path, { agent, headers }))
    expectAtMost(cost, { ...SOCKET, receipts: 1, statx: 1, wake: 12 })
  })
})
