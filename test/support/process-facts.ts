import { readdir, readFile } from 'node:fs/promises'

/** What the kernel says of a process; on Linux alone. */

/** The unit of CPU time in /proc, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** Of all threads of a process, so far. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number)
  return (user + system) / TICKS_PER_SECOND
}

/** Megabytes that a process has now (`VmRSS`), or had at its peak (`VmHWM`). */
export async function memoryOf(pid: number, line: 'VmRSS' | 'VmHWM' = 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(new RegExp(`${line}:\\s+(\\d+)`).exec(status)?.[1]) / 1024)
}

/** Open descriptors of a process: files, and connections. */
export async function descriptorsOf(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length
}
