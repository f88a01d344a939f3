import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { tinyPng } from '../support/images.ts'
import { freePorts } from '../support/s3-servers.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const main = join(import.meta.dirname, '../../src/main.ts')

interface Started {
  readonly child: ReturnType<typeof spawn>
  readonly url: string
  readonly metricsUrl: string
}

type Stdout = 'pipe' | number | { readonly file: string }

/** Starts a server with this standard output, has something done with it, and kills it. */
async function withServer(
  stdout: Stdout,
  work: (server: Started) => Promise<unknown>,
  env: Record<string, string> = {},
): Promise<void> {
  await using folder = await tempFolder()
  const [port = 0, metricsPort = 0] = await freePorts(2)
  const all = {
    PATH: process.env.PATH,
    PORT: String(port),
    DATA_DIR: folder.path,
    METRICS_ADDRESS: `127.0.0.1:${metricsPort}`,
    ...OWN_KEY,
    ...env,
  }
  const child =
    typeof stdout === 'object'
      ? // Opened by itself, so that no setting of it is ours too; and with standard error, as service managers do.
        spawn('sh', ['-c', `exec "$0" "$1" >"$2" 2>&1`, process.execPath, main, stdout.file], {
          env: all,
          stdio: 'ignore',
        })
      : spawn(process.execPath, [main], { env: all, stdio: ['ignore', stdout, 'ignore'] })
  try {
    const url = `http://127.0.0.1:${port}`
    await eventually(() => fetch(url).then(Boolean, () => false), 20_000)
    await work({ child, url, metricsUrl: `http://127.0.0.1:${metricsPort}/metrics` })
  } finally {
    child.kill('SIGKILL')
  }
}

/** A path of 8 KB, which the log shows whole. */
const LONG_PATH = `/${'x-'.repeat(4000)}`

/** Makes a server write as many lines of 8 KB; each is a request whose path ends in its number. */
async function fillLog({ url }: Started, count: number, first = 0): Promise<void> {
  for (let number = first; number < first + count; number += 1)
    expect((await call(`${url}${LONG_PATH}/${number}`)).status).toBe(404)
}

async function droppedBy({ metricsUrl }: Started): Promise<number> {
  const text = await (await fetch(metricsUrl)).text()
  return Number(/^layover_log_lines_dropped_total (\d+)/m.exec(text)?.[1])
}

async function expectToStop({ child }: Started, milliseconds: number): Promise<void> {
  child.kill('SIGTERM')
  expect(await once(child, 'exit', { signal: AbortSignal.timeout(milliseconds) })).toEqual([0, null])
}

/** A named pipe with a reader that has not begun to read. */
function openPipe(folder: TempFolder) {
  const file = join(folder.path, 'log')
  execFileSync('mkfifo', [file])
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
  const buffer = Buffer.alloc(64 * 1024)
  let text = ''
  return {
    file,
    /** Reads as much as there is, this many bytes at most. */
    read(most = buffer.length): string {
      try {
        text += buffer.toString('latin1', 0, readSync(descriptor, buffer, 0, most, null))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      }
      return text
    },
    [Symbol.dispose]: () => closeSync(descriptor),
  }
}

/** The lines, each of which has to be whole. */
const parsed = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

/** The numbers of the requests that the log has, in its order. */
const numbersIn = (lines: readonly Record<string, unknown>[]) =>
  lines.flatMap(({ path }) =>
    String(path).startsWith(LONG_PATH) ? [Number(String(path).split('/')[2])] : [],
  )

const upTo = (end: number) => Array.from({ length: end }, (_, number) => number)

describe('a server goes on, and stops when it is told to,', () => {
  async function expectToServe(stdout: 'pipe' | number) {
    await withServer(stdout, async (server) => {
      server.child.stdout?.destroy()
      for (let asked = 0; asked < 5; asked += 1) {
        expect((await call(`${server.url}/nothing`)).status).toBe(404)
        await sleep(60)
      }
      await expectToStop(server, 10_000)
    })
  }

  test('when whoever read its log has gone', () => expectToServe('pipe'))
  test('when the disk that has its log is full', () => expectToServe(openSync('/dev/full', 'w')))

  test.each([
    { what: 'one process', env: {} },
    { what: 'workers', env: { WORKERS: '2' } },
  ])('when nobody reads the pipe that is its log: $what', { timeout: 60_000 }, async ({ env }) => {
    await using folder = await tempFolder()
    using pipe = openPipe(folder)
    await withServer(
      pipe,
      async (server) => {
        await fillLog(server, 250)
        expect((await WAYS.form(server.url, tinyPng)).status).toBe(200)
        expect((await call(`${server.url}/healthz`)).status).toBe(200)
        expect(await droppedBy(server)).toBeGreaterThan(50)
        await expectToStop(server, 3000)
      },
      env,
    )
  })

  test('when nobody reads the socket that is its log', { timeout: 60_000 }, async () => {
    await withServer('pipe', async (server) => {
      await fillLog(server, 250)
      expect((await WAYS.form(server.url, tinyPng)).status).toBe(200)
      expect(await droppedBy(server)).toBeGreaterThan(20)
      await expectToStop(server, 3000)
    })
  })
})

test('a log whose reader comes back says how many lines are missing, where they are', {
  timeout: 60_000,
}, async () => {
  await using folder = await tempFolder()
  using pipe = openPipe(folder)
  await withServer(pipe, async (server) => {
    await fillLog(server, 250)
    const dropped = await droppedBy(server)
    expect(dropped).toBeGreaterThan(50)
    await eventually(() => /"msg":"log lines dropped"/.test(pipe.read()))
    await fillLog(server, 5, 250)
    await eventually(() => pipe.read().includes('x-/254"'))
    await expectToStop(server, 3000)
    const lines = parsed(pipe.read())
    const at = lines.findIndex(({ msg }) => msg === 'log lines dropped')
    expect(lines[at]).toMatchObject({ level: 50, count: dropped })
    const before = numbersIn(lines.slice(0, at))
    expect(before).toEqual(upTo(before.length))
    // Those that the metrics were asked for have no line.
    expect(before.length + dropped).toBe(250)
    expect(numbersIn(lines.slice(at))).toEqual([250, 251, 252, 253, 254])
    expect(lines.at(-1)).toMatchObject({ msg: 'stopped' })
  })
})

test.each([
  { what: 'one process', env: {} },
  { what: 'workers', env: { WORKERS: '2' } },
])('a log that is read slowly has all lines whole: $what', { timeout: 60_000 }, async ({ env }) => {
  await using folder = await tempFolder()
  using pipe = openPipe(folder)
  await withServer(
    pipe,
    async (server) => {
      await fillLog(server, 100)
      // Parts of lines, at which the writer has to go on.
      for (let size = 1; size < 600 && !pipe.read(size * 10).includes('x-/99"'); size += 1) await sleep(2)
      await eventually(() => pipe.read().includes('x-/99"'))
      const end = once(server.child, 'exit')
      server.child.kill('SIGTERM')
      expect(await end).toEqual([0, null])
      const lines = parsed(pipe.read())
      expect(numbersIn(lines).sort((one, other) => one - other)).toEqual(upTo(100))
      if (!('WORKERS' in env)) expect(numbersIn(lines)).toEqual(upTo(100))
      expect(lines.at(-1)).toMatchObject({ msg: 'stopped' })
    },
    env,
  )
})

test('a log that is a file has the last lines before an end by an error', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'log')
  const failing = `process.on('SIGWINCH', () => { throw new Error('nobody caught this') })`
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(failing)}` }
  await withServer(
    { file },
    async (server) => {
      await fillLog(server, 3)
      const end = once(server.child, 'exit')
      server.child.kill('SIGWINCH')
      expect(await end).toEqual([1, null])
      const lines = parsed(await readFile(file, 'utf8'))
      expect(numbersIn(lines)).toEqual([0, 1, 2])
      expect(lines.slice(-2)).toMatchObject([{ level: 60 }, { msg: 'stopped' }])
    },
    env,
  )
})
