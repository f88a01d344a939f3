import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Whether a file system can be mounted here, for which it takes root. Says loudly if not, as its cases are skipped then. */
export const canMount = await smallDisk({ size: '64k' }).then(
  async (disk) => {
    await disk[Symbol.asyncDispose]()
    return true
  },
  (error) => {
    console.warn(
      `\n*** NOT TESTED ON A FULL DISK: nothing can be mounted here (${error.message.trim()}). ***\n`,
    )
    return false
  },
)

/** A disk of its own that is soon full. Disposing of it unmounts it. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string
  /** Takes no writes any more, except to files that are open already; until the answer is called. */
  writeProtect(): Promise<() => Promise<void>>
}

/** `size` as `mount` writes it; `inodes` is how many files and folders it takes. */
export async function smallDisk({ size, inodes }: { size: string; inodes?: number }): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'layover-disk-'))
  const options = inodes === undefined ? `size=${size}` : `size=${size},nr_inodes=${inodes}`
  try {
    await run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path])
  } catch (error) {
    await rm(path, { recursive: true })
    throw error
  }
  const unmount = async () => void (await run('umount', [path]))
  return {
    path,
    async writeProtect() {
      // Over itself: the disk is busy with the files that the server has open, but the second mount is not.
      await run('mount', ['--bind', path, path])
      await run('mount', ['-o', 'remount,bind,ro', path])
      return unmount
    },
    async [Symbol.asyncDispose]() {
      await unmount()
      await rm(path, { recursive: true })
    },
  }
}
