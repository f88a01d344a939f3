import { rmSync } from 'node:fs'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system that servers are compared on. `memory` is where syncing costs nothing. */
export type Medium = 'disk' | 'memory'

const MEMORY = '/dev/shm'
/** What statfs says of a file system in memory (Linux, TMPFS_MAGIC). */
const TMPFS = 0x01021994
/** Bytes that have to be free for a comparison. */
export const ROOM = 6 * 1024 ** 3

const made = new Set<string>()

/** The media that this machine has with room enough; each has its base folder. */
export async function findMedia(): Promise<Map<Medium, string>> {
  const media = new Map<Medium, string>()
  for (const path of [tmpdir(), MEMORY])
    if ((await isMemory(path)) && (await roomIn(path)) > ROOM) media.set('memory', path)
  // Where temp files are in memory, what is called a disk would be none.
  if (!(await isMemory(tmpdir())) && (await roomIn(tmpdir())) > ROOM) media.set('disk', tmpdir())
  return media
}

async function isMemory(path: string): Promise<boolean> {
  return (await statfs(path).catch(() => undefined))?.type === TMPFS
}

async function roomIn(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path)
  return bavail * bsize
}

export interface Folder extends AsyncDisposable {
  readonly path: string
}

/** A new folder that is removed when it is disposed of, or when the benchmark is stopped. */
export async function folderIn(base: string): Promise<Folder> {
  const path = await mkdtemp(join(base, 'layover-bench-'))
  made.add(path)
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true })
      made.delete(path)
    },
  }
}

/** At once, for when the benchmark itself is stopped. */
export function removeFolders(): void {
  for (const path of made) rmSync(path, { recursive: true, force: true })
}
