import { createHash, randomBytes } from 'node:crypto'
import type { StatsFs } from 'node:fs'
import * as fs from 'node:fs/promises'
import { mkdir, readdir, stat, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, join } from 'node:path'
import { StorageFull, storeFailure } from './store/store.ts'
import { makeTempFile, type TempFile } from './temp-file.ts'

export type { TempFile } from './temp-file.ts'

/** A temp file's name: which machine and process made it, and a random part. Nothing else is ever removed. */
const SHAPE = /^([0-9a-f]{8})-(\d+)-[0-9a-f]{32}\.part$/

/** Else a container that is started again, with the process id of the one before, would meet its names. */
const run = randomBytes(8).toString('hex')
let made = 0

/** Seconds without a write after which a file of another process with our id, if there is one, is given up. */
const NAMESAKE_AGE = 60

const machine = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)

/**
 * Where there is so much more space than the floor, in bytes, it is not asked for again for so many milliseconds: each answer costs as
 * much as a step of an upload.
 */
const AMPLE = 2 ** 30
const AMPLE_INODES = 10_000
const TRUSTED_FOR = 500

/**
 * Free inodes below which uploads are refused, or one in a hundred on a file system that has fewer
 * in all: uploads under way take some.
 */
const INODE_FLOOR = 1000

/** A name that is kept for a temp file, which somebody else makes. */
export interface TempName {
  readonly path: string
  /** Removes the file, if it is there, and gives up the name; never fails. */
  remove(): Promise<void>
  /** Gives up the name of a file that is gone. */
  forget(): void
}

/** The folder of unfinished files: bodies on their way in, and whatever is about to become an image. */
export interface Spool {
  readonly dir: string
  /** Makes an empty temp file. Throws `StorageFull` while free space is below the floor, unless `anyway`; else `StoreError`. */
  create(options?: { anyway: boolean }): Promise<TempFile>
  /** Keeps a name for a file that is made elsewhere. Throws `StorageFull` in the same way, or as the file system does. */
  reserve(options?: { anyway: boolean }): Promise<TempName>
  /**
   * Free space, in bytes, above the floor; negative below it. Rejects with `StorageFull` if there
   * is a floor and inodes are running out.
   */
  headroom(): Promise<number>
  /** Removes what processes that are gone left behind, and what is older than `maxAge`. Answers how many. */
  sweep(now: number): Promise<number>
  /** Removes what this process has not finished, as nobody will any more. */
  close(): Promise<void>
}

export interface SpoolOptions {
  readonly dir: string
  /** Bytes to be left free on the file system; 0 for no floor. */
  readonly minFree: number
  /** Seconds after which a temp file that is no longer written to is nobody's. */
  readonly maxAge: number
  /**
   * Whether this process only looks in, and a server may be at work: what looks like a process that has ended can be one of a container that
   * has the same host name, so nothing but age counts then.
   */
  readonly isGuest?: boolean
  /** How a file system is asked what is free. */
  readonly statfs?: (path: string) => Promise<FreeSpace>
}

/** As `statfs` of `node:fs` says it. */
export type FreeSpace = Pick<StatsFs, 'bavail' | 'bsize' | 'files' | 'ffree'>

/** A `maxAge` by which no upload is still on its way, where one may take so many seconds. */
export function tempAge({ uploadTimeout }: { uploadTimeout: number }): number {
  return Math.max(3600, 2 * uploadTimeout)
}

/** Opens a spool, making its folder. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { dir, minFree, maxAge, isGuest = false, statfs = fs.statfs } = options
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const own = new Map<string, { remove(): Promise<void> }>()
  let [known, trustedUntil] = [0, 0]

  async function headroom() {
    const now = performance.now()
    if (now < trustedUntil) return known
    const { bavail, bsize, files, ffree } = await statfs(dir)
    known = bavail * bsize - minFree
    // File systems without a limit (btrfs, FAT) have 0 files.
    const isAmple = known > AMPLE && (files === 0 || ffree > AMPLE_INODES)
    trustedUntil = isAmple ? now + TRUSTED_FOR : 0
    if (minFree > 0 && files > 0) refuseWithoutInodes({ files, ffree })
    return known
  }

  async function isStale(name: string, now: number): Promise<boolean> {
    const [, madeOn, pid] = SHAPE.exec(name) ?? []
    // Whoever made it removes it; how old it is says little when the clock has jumped.
    if (pid === undefined || own.has(name)) return false
    const isFromHere = madeOn === machine && !isGuest
    if (isFromHere && !isRunning(Number(pid))) return true
    const { mtimeMs } = await stat(join(dir, name))
    // Our own id on a file that is not ours: from before a restart, or from a container beside us that has the same id.
    const isNamesake = isFromHere && Number(pid) === process.pid
    return now - mtimeMs > (isNamesake ? NAMESAKE_AGE : maxAge) * 1000
  }

  async function reserve({ anyway } = { anyway: false }): Promise<TempName> {
    if (!anyway && minFree > 0 && (await headroom()) < 0)
      throw new StorageFull('free space is below MIN_FREE_SPACE')
    made += 1
    const name = `${machine}-${process.pid}-${run}${made.toString(16).padStart(16, '0')}.part`
    const path = join(dir, name)
    const forget = () => void own.delete(name)
    const reserved = {
      path,
      forget,
      remove: () =>
        unlink(path)
          .catch(() => {})
          .then(forget),
    }
    own.set(name, reserved)
    return reserved
  }

  return {
    dir,
    headroom,

    reserve,

    async create(options) {
      let name: TempName | undefined
      try {
        name = await reserve(options)
        const file = await makeTempFile(name.path, name.forget)
        own.set(basename(name.path), file)
        return file
      } catch (error) {
        name?.forget()
        throw storeFailure(error, 'cannot make a temp file')
      }
    },

    async sweep(now) {
      let removed = 0
      for (const name of await readdir(dir)) {
        // Another sweeper, or the file's own process, may be quicker.
        const removal = isStale(name, now).then((stale) => stale && unlink(join(dir, name)).then(() => true))
        if (await removal.catch(ignoreMissing)) removed += 1
      }
      return removed
    },

    async close() {
      await Promise.all([...own.values()].map((file) => file.remove()))
    },
  }
}

function refuseWithoutInodes({ files, ffree }: Pick<FreeSpace, 'files' | 'ffree'>): void {
  const floor = Math.min(INODE_FLOOR, Math.ceil(files / 100))
  if (ffree >= floor) return
  throw new StorageFull(
    `only ${ffree} of ${files} inodes are free, and uploads are refused below ${floor}: delete small files there, ` +
      'or move DATA_DIR to a file system that has more',
  )
}

/** Whether a process with this id is running on this machine. */
function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): false {
  if (error.code === 'ENOENT') return false
  throw error
}
