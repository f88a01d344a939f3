import { mkdir, rmdir, unlink } from 'node:fs/promises'
import { BoundedMap } from '../bounded-map.ts'
import type { Spool } from '../spool.ts'
import { diskThreads, ThreadGone } from './disk-threads.ts'
import { durableFile } from './durable-file.ts'
import { codeOf } from './error-code.ts'
import { folderSync, syncFolder } from './folder-sync.ts'
import { linkNew } from './link-new.ts'
import { ObjectExists, type PutOptions, type StagedBytes, type Store, storeFailure } from './store.ts'

/** Folders that are known to be durable at once; for one that is forgotten, the root is synced once more. */
const MOST_KNOWN = 1000

export interface LocalWriterOptions {
  readonly root: string
  readonly spool: Spool
  /** Where a key's file is, and the folder that it is in, below the root. */
  readonly pathOf: (key: string) => string
  readonly folderOf: (key: string) => string
}

/** Puts images below `root`, as the local store's `put` promises it, and ends what is under way when it is closed. */
export function localWriter({
  root,
  spool,
  pathOf,
  folderOf,
}: LocalWriterOptions): Pick<Store, 'put' | 'close'> {
  const threads = diskThreads()
  const sync = folderSync((path) =>
    byThread(
      () => threads.syncFolder(path),
      () => syncFolder(path),
    ),
  )

  /** Under way. */
  const puts = new Set<Promise<void>>()

  /** Which folders' own entries are durable; what other processes make is not known before. */
  const durable = new BoundedMap<string>(MOST_KNOWN)

  /** Has a thread do it, or does it otherwise where there is none, or where it `hasBegun` and nobody knows how far it came. */
  async function byThread<T>(
    work: () => Promise<T>,
    otherwise: (hasBegun: boolean) => Promise<T>,
  ): Promise<T> {
    if (!threads.areUsable()) return otherwise(false)
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof ThreadGone)) throw error
      return otherwise(true)
    }
  }

  async function makeFolder(path: string): Promise<void> {
    // Not the root with it: where that has gone, the disk has, and what is put in its place would be lost.
    await mkdir(path, { mode: 0o750 }).catch((error) => {
      if (codeOf(error) !== 'EEXIST') throw error
    })
  }

  /**
   * Makes an image's name durable: its own entry, and that of its folder unless this process knows it to be. Whoever made the folder may not
   * have got so far, and any process may have removed it and another one made it again, so it is known by what it is and not by its name.
   */
  async function syncName(folder: string): Promise<void> {
    const identity = await sync(folder)
    if (durable.get(folder) === identity) return
    await sync(root)
    durable.set(folder, identity)
  }

  /** Gives the file its final name, in a folder that sweeps may remove at any moment before, and again after it was made anew. */
  async function publish(temp: string, key: string): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await linkNew(temp, pathOf(key))
      } catch (error) {
        if (codeOf(error) === 'EEXIST') throw new ObjectExists(key)
        if (codeOf(error) !== 'ENOENT' || attempt === 10) throw error
        await makeFolder(folderOf(key))
      }
    }
  }

  /** Brings the bytes onto the disk and gives them their name. */
  async function store(key: string, staged: StagedBytes, options: PutOptions): Promise<void> {
    const { bytes, size } = staged
    if (bytes === undefined || bytes.length !== size) return storeAny(key, staged, options)
    await byThread(
      () => storeSmall(key, bytes),
      async (hasBegun) => {
        // It may have come as far as that.
        if (hasBegun && !options.keep) await unlink(pathOf(key)).catch(() => {})
        await storeAny(key, staged, options)
      },
    )
  }

  async function storeAny(key: string, staged: StagedBytes, { signal }: PutOptions): Promise<void> {
    await using file = await durableFile(spool, staged, signal)
    signal?.throwIfAborted()
    await publish(file.path, key)
  }

  async function storeSmall(key: string, bytes: Buffer): Promise<void> {
    const temp = await spool.reserve()
    let isGone = false
    try {
      isGone = await threads.place({ temp: temp.path, target: pathOf(key), bytes })
      if (!isGone) await publish(temp.path, key)
    } finally {
      if (isGone) temp.forget()
      else await temp.remove()
    }
  }

  async function put(key: string, staged: StagedBytes, options: PutOptions): Promise<void> {
    const { signal, keep } = options
    signal?.throwIfAborted()
    try {
      await store(key, staged, options)
      try {
        // What a thread has begun it ends, though nobody waits for it any more.
        if (!keep) signal?.throwIfAborted()
        await syncName(folderOf(key))
      } catch (error) {
        await unlink(pathOf(key)).catch(() => {})
        throw error
      }
    } catch (error) {
      // A folder that was made for this image alone.
      await rmdir(folderOf(key)).catch(() => {})
      throw signal?.aborted ? signal.reason : storeFailure(error, 'cannot store an image')
    }
  }

  return {
    async put(key, staged, options = {}) {
      const done = put(key, staged, options)
      puts.add(done)
      await done.finally(() => puts.delete(done))
    },

    async close() {
      await threads.close()
      // What comes after it: a name that is synced, or a file that nobody wants and is taken away again.
      await Promise.allSettled(puts)
    },
  }
}
