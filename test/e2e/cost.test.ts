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
  for (let round = 0; round < 5; round += 1) await work()
  await using tracing = await trace(server.pid, ['-e', 'trace=%file,%desc'])
  for (let round = 0; round < ROUNDS; round += 1) await work()
  const calls = (await tracing.calls()).flatMap((line) => nameOf(line) ?? [])
  const counts = Map.groupBy(calls, (name) => name)
  return Object.fromEntries([...counts].map(([name, all]) => [name, all.length / ROUNDS]))
}

/** Calls whose number depends on how threads happen to meet, and those of a memory that is looked at now and then. */
const CHANCE = /^(epoll|poll|ppoll|ioctl|mmap|munmap|madvise)/
const BESIDE = /<\/proc\/|"\/proc\//

function nameOf(line: string): string | undefined {
  const [, name = ''] = /^\d+ +(\w+)\(/.exec(line) ?? []
  if (name === '' || CHANCE.test(name) || BESIDE.test(line)) return undefined
  if (/eventfd/.test(line)) return 'wake'
  if (/<(socket|TCP)/.test(line)) return `socket ${name}`
  return name
}

describe.skipIf(!canTrace)('the system calls of', () => {
  test('an upload of 50 KB', async () => {
    const cost = await costOf(() => WAYS.form(server.url, SMALL, agent))
    console.log(cost)
    expect(cost).toEqual({})
  })

  test('an upload of 5 MB', async () => {
    const cost = await costOf(() => WAYS.form(server.url, LARGE, agent))
    console.log(cost)
    expect(cost).toEqual({})
  })

  test('a GET', async () => {
    const { path } = await WAYS.form(server.url, SMALL, agent)
    const cost = await costOf(() => call(server.url + path, { agent }))
    console.log(cost)
    expect(cost).toEqual({})
  })
})
