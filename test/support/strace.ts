import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { eventually } from './socket.ts'

/** Whether strace can be used here. Says loudly if not, as its cases are skipped then. */
export const canTrace = await promisify(execFile)('strace', ['-o', '/dev/null', 'true']).then(
  () => true,
  () => {
    console.warn('\n*** NOT TESTED WITH FAILING SYSTEM CALLS: strace is missing or may not be used. ***\n')
    return false
  },
)

/** strace on a process that runs already. Disposing of it lets the process go on by itself. */
export interface Tracing extends AsyncDisposable {
  /** What it has seen so far, a call a line. */
  calls(): Promise<string[]>
}

/** Attaches strace, with these options, to all threads of a process. Resolves when it sees their calls. */
export async function trace(pid: number, options: readonly string[]): Promise<Tracing> {
  const folder = await mkdtemp(join(tmpdir(), 'layover-strace-'))
  const log = join(folder, 'log')
  const child = spawn('strace', ['-f', '-y', '-s', '64', '-p', String(pid), '-o', log, ...options])
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  const ended = once(child, 'close')
  await eventually(() => {
    if (child.exitCode !== null) throw new Error(`strace: ${said}`)
    return said.includes(' attached')
  })
  return {
    calls: async () => (await readFile(log, 'utf8')).split('\n'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGINT')
      await ended
      await rm(folder, { recursive: true })
    },
  }
}
