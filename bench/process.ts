import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { cpuSeconds, memoryOf, resetPeak, treeOf } from '../test/support/process-facts.ts'
import { isInstalled } from './programs.ts'

/** Whether servers and load generator are kept apart, each on cores of its own. */
export const isPinned = availableParallelism() >= 2 && isInstalled('taskset')
/** A server has one core, so that all have as much of the machine. */
const SERVER_CORE = '0'
const LOAD_CORE = '1'

/** A command that keeps what follows it on the servers' core, or on the generator's. */
export const onServerCore = isPinned ? ['taskset', '-c', SERVER_CORE] : []
export const onLoadCore = isPinned ? ['taskset', '-c', LOAD_CORE] : []

/** Every process that was started and has not been ended. */
const children = new Set<ChildProcess>()

/** Starts a program whose errors are shown; its output is a pipe, or a file by its descriptor. */
export function launch(
  command: readonly string[],
  { env = {}, output = 'pipe' as 'pipe' | number, cwd }: LaunchOptions = {},
): ChildProcess {
  const [program = '', ...args] = command
  const { PATH, HOME } = process.env
  const child = spawn(program, args, {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', output, 'inherit'],
    ...(cwd !== undefined && { cwd }),
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

interface LaunchOptions {
  readonly env?: Record<string, string>
  readonly output?: 'pipe' | number
  readonly cwd?: string
}

/** The first line that a program prints. Rejects if it ends without one. */
export async function firstLine(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout ?? []) {
    text += chunk
    if (text.includes('\n')) return text.slice(0, text.indexOf('\n'))
  }
  throw new Error('a server ended before it was ready')
}

export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}

/** At once, for when the benchmark itself is stopped. */
export function killAll(): void {
  for (const child of children) child.kill('SIGKILL')
}

export interface Usage {
  /** CPU time of the process and its descendants. */
  readonly cpuSeconds: number
  /** The same, for each. */
  readonly each: ReadonlyMap<number, number>
}

export async function usageOf(pid: number): Promise<Usage> {
  const each = new Map<number, number>()
  for (const id of await treeOf(pid)) each.set(id, await cpuSeconds(id))
  return { cpuSeconds: sum(each.values()), each }
}

/** Megabytes of a process and its descendants together, now or at each one's peak. */
export async function memoryOfTree(pid: number, line: 'VmRSS' | 'VmHWM' = 'VmRSS'): Promise<number> {
  return sum(await Promise.all((await treeOf(pid)).map((id) => memoryOf(id, line))))
}

export async function resetPeaks(pid: number): Promise<void> {
  for (const id of await treeOf(pid)) await resetPeak(id)
}

export function sum(values: Iterable<number>): number {
  return [...values].reduce((total, value) => total + value, 0)
}
