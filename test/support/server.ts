import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fixture } from './images.ts'
import { placeOf } from './place.ts'

const root = join(import.meta.dirname, '../..')
const main = join(root, 'src/main.ts')
/** The runtime's options, as `npm start` gives them. */
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const nodeOptions: string[] = scripts.start.match(/--\S+/g)

/** Characters of a server's output that are kept. */
const MOST_OUTPUT = 64 * 1024 ** 2

/** A started server process. Disposing of it kills it, and removes its data folder unless that was given. */
export interface ServerProcess extends AsyncDisposable {
  readonly url: string
  readonly dataDir: string
  readonly pid: number
  /** Everything it has printed. */
  output(): string
  /** The key that the first start showed. */
  key(): string
  /** Uploads a file of `test/fixtures` with the first key, and fields before it. */
  upload(file: string, options?: { key?: string; fields?: Record<string, string> }): Promise<Response>
  /** Images and temp files. */
  files(): Promise<string[]>
  /** Sends a signal and resolves with how the process ended. */
  stop(signal: NodeJS.Signals): Promise<End>
  /** Resolves with how the process ended, by itself or by a signal that somebody else has sent. */
  ended(): Promise<End>
}

export interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface ServerOptions {
  readonly env?: Record<string, string>
  /** Start again on an older folder. */
  readonly dataDir?: string
  /** Start it as the README says, by `npm start`; signals then go to npm. */
  readonly throughNpm?: boolean | undefined
  /** A command that becomes the server, which is its last argument: one that takes rights or descriptors from it. */
  readonly under?: readonly string[] | undefined
}

/** Starts `src/main.ts`, with no variables but those given, and waits until it is ready. */
export async function startServer({
  env = {},
  dataDir,
  throughNpm,
  under,
}: ServerOptions = {}): Promise<ServerProcess> {
  const dir = dataDir ?? (await mkdtemp(join(tmpdir(), 'layover-')))
  const place = placeOf(dir)
  const { child, output } = launch({ PORT: '0', DATA_DIR: dir, ...place.env, ...env }, { throughNpm, under })
  const url = await ready(child, output)
  const firstKey = () => /sk-layover-[\w-]+/.exec(output())?.[0] ?? ''
  return {
    url,
    dataDir: dir,
    pid: child.pid ?? 0,
    output,
    key: firstKey,
    async upload(file, { key = firstKey(), fields = {} } = {}) {
      const body = new FormData()
      for (const [name, value] of Object.entries(fields)) body.append(name, value)
      body.append('file', new Blob([new Uint8Array(fixture(file))]), file)
      return fetch(`${url}/api/upload`, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body })
    },
    files: place.files,
    stop: (signal) => end(child, signal),
    ended: () => ended(child),
    async [Symbol.asyncDispose]() {
      await end(child, 'SIGKILL')
      // Workers whose primary was killed write there until they have ended.
      if (dataDir === undefined) await rm(dir, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

/** Starts a server that is expected to end by itself. */
export async function failToStart(
  env: Record<string, string>,
  { under }: Pick<ServerOptions, 'under'> = {},
): Promise<{ code: number | null; output: string }> {
  const { child, output } = launch({ PORT: '0', ...env }, { under })
  const { code } = await ended(child)
  return { code, output: output() }
}

function launch(
  env: Record<string, string>,
  { throughNpm, under = [] }: Pick<ServerOptions, 'throughNpm' | 'under'>,
) {
  const options = { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env } }
  const [command = '', ...args] = [...under, process.execPath, ...nodeOptions, main]
  // Otherwise in a folder where no `.env` of the developer's counts.
  const child = throughNpm
    ? spawn('npm', ['start'], { ...options, cwd: root })
    : spawn(command, args, { ...options, cwd: tmpdir() })
  let text = ''
  const append = (chunk: Buffer) => {
    text += chunk
    // Of what a soak prints, the beginning and the end.
    if (text.length > MOST_OUTPUT) text = text.slice(0, MOST_OUTPUT / 4) + text.slice(-MOST_OUTPUT / 4)
  }
  child.stdout.on('data', append)
  child.stderr.on('data', append)
  return { child, output: () => text }
}

async function ready(child: ChildProcess, output: () => string): Promise<string> {
  const limit = AbortSignal.timeout(20_000)
  for (;;) {
    const line = output()
      .split('\n')
      .find((line) => line.includes('"msg":"ready"'))
    if (line !== undefined) return JSON.parse(line).url
    if (child.exitCode !== null) throw new Error(`the server did not start:\n${output()}`)
    await Promise.race([once(child.stdout ?? child, 'data', { signal: limit }), once(child, 'close')])
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals) {
  const result = ended(child)
  child.kill(signal)
  return result
}

async function ended(child: ChildProcess) {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
  return { code: child.exitCode, signal: child.signalCode }
}
