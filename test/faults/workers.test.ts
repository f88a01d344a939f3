import { rename } from 'node:fs/promises'
import { Agent } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { authorization } from '../support/app.ts'
import { connections, isRunning, linesOf, workersOf } from '../support/crew.ts'
import { pngOfSize, sha256 } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, openSocket, parseResponse, uploadHead } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const CLIENTS = 12
const ENV = {
  ...OWN_KEY,
  WORKERS: '2',
  MIN_FREE_SPACE: '0',
  STOP_TIMEOUT: '10s',
  QUOTA: '100GB',
  SWEEP_INTERVAL: '1h',
}

let folder: TempFolder
let server: ServerProcess
beforeEach(async () => {
  folder = await tempFolder()
  server = await startServer({ dataDir: folder.path, env: ENV })
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  // Whatever a test did to the primary.
  for (const pid of workersOf(server)) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
  await folder[Symbol.asyncDispose]()
})

interface Load {
  /** Paths and hashes of what was answered 200. */
  readonly stored: Map<string, string>
  /** Resolves when all clients have ended, with the answers that were not 200, and how many there were none to. */
  stop(): Promise<{ refused: number[]; broken: number }>
}

/** Clients that upload and read back, each on connections of its own, until they are told to stop or nobody is there any more. */
function load(): Load {
  const stored = new Map<string, string>()
  const refused: number[] = []
  let [isOver, broken] = [false, 0]

  async function client(number: number): Promise<void> {
    const agent = new Agent({ keepAlive: number % 2 === 0, maxSockets: 1 })
    const ways = Object.values(WAYS)
    for (let turn = 0; turn < 2000 && !isOver; turn += 1) {
      const bytes = Buffer.concat([pngOfSize(30_000 * (1 + (turn % 5))), Buffer.from(`${number}/${turn}`)])
      try {
        const { status, path } = (await ways[turn % ways.length]?.(server.url, bytes, agent)) ?? {}
        if (status !== 200) refused.push(status ?? 0)
        if (path === undefined) continue
        stored.set(path, sha256(bytes))
        const back = await call(server.url + path, { agent })
        if (back.status !== 200) refused.push(back.status)
      } catch (error) {
        broken += 1
        if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') break
      }
    }
    agent.destroy()
  }

  const clients = Array.from({ length: CLIENTS }, (_, number) => client(number))
  return {
    stored,
    async stop() {
      isOver = true
      await Promise.all(clients)
      return { refused, broken }
    },
  }
}

async function expectAllIn(stored: Map<string, string>, { url }: ServerProcess): Promise<void> {
  for (const [path, hash] of stored) expect(sha256((await call(url + path)).body)).toBe(hash)
}

const newWorker = (before: readonly number[]) => workersOf(server).find((pid) => !before.includes(pid))

/** An upload of which half has been sent, and the rest when it is told. */
async function halfSent() {
  const bytes = pngOfSize(400_000)
  const form = uploadOf(bytes)
  const socket = await openSocket(Number(new URL(server.url).port))
  socket.write(uploadHead(form, authorization, { Connection: 'keep-alive' }))
  socket.write(form.body.subarray(0, 200_000))
  await eventually(async () => (await server.files()).length > 0)
  return async () => {
    socket.write(form.body.subarray(200_000))
    const answer = parseResponse(await buffer(socket))
    return { ...answer, hash: sha256(bytes) }
  }
}

test('a worker that is killed is replaced: the others go on, and nothing is lost that was answered', {
  timeout: 400_000,
}, async () => {
  const { stored, stop } = load()
  for (let round = 0; round < 3; round += 1) {
    const before = workersOf(server)
    const count = stored.size
    await eventually(() => stored.size > count + 20, 60_000)
    process.kill(before.at(-1) ?? 0, 'SIGKILL')
    await eventually(() => newWorker(before) !== undefined, 60_000)
  }
  const { refused, broken } = await stop()
  expect(refused).toEqual([])
  // At most what the killed ones had under way.
  expect(broken).toBeLessThanOrEqual(3 * CLIENTS)
  await expectAllIn(stored, server)
  const killed = linesOf(server).filter(({ signal }) => signal === 'SIGKILL')
  expect(killed).toHaveLength(3)
  // What they had on its way in has gone with them, though no sweep was due.
  await eventually(async () => (await server.files()).every((name) => !name.endsWith('.part')))
  expect(workersOf(server).filter(isRunning)).toHaveLength(2)
})

test.each([
  { who: 'the primary', to: (primary: number) => [primary] },
  {
    who: 'all at once, as a terminal does',
    to: (primary: number, workers: number[]) => [primary, ...workers],
  },
  {
    who: 'the workers first, as a system may',
    to: (primary: number, workers: number[]) => [...workers, primary],
  },
])(
  'SIGINT to $who, under load, loses nothing, lets uploads end, and ends with 0',
  { timeout: 120_000 },
  async ({ to }) => {
    const half = await halfSent()
    const { stored, stop } = load()
    await eventually(() => stored.size > 30, 20_000)
    const pids = to(server.pid, workersOf(server))
    for (const pid of pids) process.kill(pid, 'SIGINT')
    await eventually(() => linesOf(server).some(({ msg }) => msg === 'stopping'))
    const { status, headers, body, hash } = await half()
    expect({ status, connection: headers.connection }).toEqual({ status: 200, connection: 'close' })
    stored.set(new URL(JSON.parse(String(body)).data).pathname, hash)
    await stop()
    expect(await server.ended()).toEqual({ code: 0, signal: null })
    expect(workersOf(server).filter(isRunning)).toEqual([])
    expect(linesOf(server).filter(({ msg }) => ['stopping', 'stopped'].includes(String(msg)))).toHaveLength(2)

    await using second = await startServer({ dataDir: folder.path, env: ENV })
    await expectAllIn(stored, second)
    expect(await second.files()).toHaveLength(stored.size)
  },
)

test('a second signal ends all at once', async () => {
  await halfSent()
  process.kill(server.pid, 'SIGTERM')
  await eventually(() => linesOf(server).some(({ msg }) => msg === 'stopping'))
  await sleep(100)
  expect(await server.stop('SIGTERM')).toEqual({ code: 1, signal: null })
  await eventually(() => workersOf(server).filter(isRunning).length === 0, 3000)
})

test('when the primary is killed, its workers let uploads end, free the port at once, and end themselves', async () => {
  const half = await halfSent()
  process.kill(server.pid, 'SIGKILL')
  await eventually(() => !isRunning(server.pid))
  const port = Number(new URL(server.url).port)
  const next = createServer()
  await eventually(
    () =>
      new Promise<boolean>((resolve) => {
        next.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
      }),
  )
  next.close()
  const { status, body, hash } = await half()
  expect(status).toBe(200)
  await eventually(() => workersOf(server).filter(isRunning).length === 0, 8000)

  await using second = await startServer({ dataDir: folder.path, env: ENV })
  await expectAllIn(new Map([[new URL(JSON.parse(String(body)).data).pathname, hash]]), second)
})

test('a replacement makes no secret of its own: it comes when the old one is back', async () => {
  const [path, aside] = ['secret', 'elsewhere'].map((name) => join(folder.path, name)) as [string, string]
  await rename(path, aside)
  const before = workersOf(server)
  process.kill(before[0] ?? 0, 'SIGKILL')
  await eventually(() => linesOf(server).some(({ reason }) => String(reason).includes(`${path} is gone`)))
  expect(newWorker(before)).toBeUndefined()
  const { status, path: stored = '' } = await WAYS.base64(server.url, pngOfSize(1000))
  expect(status).toBe(200)

  await rename(aside, path)
  await eventually(() => newWorker(before) !== undefined, 20_000)
  // Each knows whose the image is.
  await using agents = await connections(server)
  const id = `file_${stored.split('/').at(-1)?.replace('.png', '')}`
  for (const agent of agents.values())
    expect((await call(`${server.url}/v1/files/uploads/${id}`, { agent })).status).toBe(200)
})
