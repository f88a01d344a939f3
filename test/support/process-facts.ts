import { readdir, readFile, writeFile } from 'node:fs/promises'

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

/** A process and all that descend from it, the process itself first. */
export async function treeOf(pid: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const parents = new Map(await Promise.all(pids.map(async (id) => [id, await parentOf(id)] as const)))
  const tree = [pid]
  for (const parent of tree) for (const [id, of] of parents) if (of === parent) tree.push(id)
  return tree
}

/** Sets the peak (`VmHWM`) of a process back to what it has now. */
export async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5')
}

/** 0 for one that is gone. */
async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
}
