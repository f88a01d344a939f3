import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'

export const cli = join(import.meta.dirname, '../../src/cli.ts')

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Without it, a folder where no `.env` counts. */
  readonly cwd?: string
  /** What it reads on standard input; without it, nothing. */
  readonly input?: AsyncIterable<Buffer> | Buffer
}

/** Starts `layover` as a process of its own, with no variables but those given. */
export function begin(args: readonly string[], { env = {}, cwd = tmpdir() }: RunOptions = {}) {
  const child = spawn(process.execPath, [cli, ...args], { env: { PATH: process.env.PATH, ...env }, cwd })
  // It need not read all that it is given.
  child.stdin.on('error', () => {})
  return child
}

/** Runs `layover` to its end. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = begin(args, options)
  const { input = Buffer.alloc(0) } = options
  if (Buffer.isBuffer(input)) child.stdin.end(input)
  else pipeline(Readable.from(input), child.stdin).catch(() => {})
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code: child.exitCode, stdout, stderr }
}

/** Runs a line of bash in which `layover` is the command, as in an image, where a link leads to it. */
export async function shell(line: string, { env = {}, cwd = tmpdir() }: RunOptions = {}): Promise<Ran> {
  const bin = await binFolder()
  const path = `${bin}:${dirname(process.execPath)}:${process.env.PATH}`
  return new Promise((resolve) => {
    const options = { env: { ...env, PATH: path }, cwd, timeout: 60_000 }
    execFile('bash', ['--norc', '-c', line], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    )
  })
}

/** The same in a terminal of 100 columns; answers with what it shows, and with the exit code at its end. */
export async function terminal(line: string, options: RunOptions = {}): Promise<Ran> {
  const command = `stty cols 100; ${line}`.replaceAll("'", "'\\''")
  const env = { TERM: 'xterm', ...options.env }
  return shell(`SHELL=/bin/bash script -qec '${command}' /dev/null < /dev/null`, { ...options, env })
}

async function binFolder(): Promise<string> {
  const folder = join(tmpdir(), `layover-bin-${process.pid}`)
  await mkdir(folder, { recursive: true })
  await symlink(cli, join(folder, 'layover')).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
  return folder
}
