import { lstatSync } from 'node:fs'
import { lstat, mkdir, readdir, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Spool } from '../spool.ts'
import { diskThreads, ThreadGone } from './disk-threads.ts'
import { durableFile } from './durable-file.ts'
import { folderSync, syncFolder } from './folder-sync.ts'
import { linkNew } from './link-new.ts'
import { type FileReaderOptions, fileReader } from './read-file.ts'
import { belongsIn, isShard, shardOf } from './shards.ts'
import {
  ObjectExists,
  ObjectNotFound,
  type PutOptions,
  type StagedBytes,
  type Store,
  StoreError,
  storeFailure,
} from './store.ts'

const MAY_BE_MISSING = { throwIfNoEntry: false } as const

export interface LocalStoreOptions extends Partial<FileReaderOptions> {
  readonly root: string
  readonly spool: Spool
}

/** Names that are looked at in one turn of the event loop. */
const TURN = 500

/** Folders that are known to be durable at once; for one that is forgotten, the root is synced once more. */
const MOST_KNOWN = 1000

/**
 * Images as files below `root`, in folders by the leading characters of their names.
 *
 * `spool` holds the temp files and must be on the same file system. Rejects at once, with what to do, if the folder cannot be
 * used.
 */
export async function openLocalStore({ root, spool, mayWait = false }: LocalStoreOptions): Promise<Store> {
  const threads = diskThreads()
  const sync = folderSync((path) => (threads.areUsable() ? syncByThread(path) : syncFolder(path)))
  const read = fileReader({ mayWait })
  await mkdir(root, { recursive: true, mode: 0o750 }).catch((error) => {
    throw storeFailure(error, `${root} must be a folder that this user can write`)
  })
  await syncFolder(dirname(root))
  await probe(root, spool)

  const folderOf = (key: string) => join(root, shardOf(key))
  // Not `join`, which looks at each character: neither part can lead elsewhere.
  const base = resolve(root)
  const pathOf = (key: string) => `${base}/${shardOf(key)}/${key}`

  /** Under way. */
  const puts = new Set<Promise<void>>()

  /** Which folders' own entries are durable; what other processes make is not known before. */
  const durable = new Map<string, string>()

  async function syncByThread(path: string): Promise<string> {
    return threads.syncFolder(path).catch((error) => {
      if (error instanceof ThreadGone) return syncFolder(path)
      throw error
    })
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
    durable.delete(folder)
    durable.set(folder, identity)
    const [oldest] = durable.keys()
    if (durable.size > MOST_KNOWN && oldest !== undefined) durable.delete(oldest)
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
  async function store(key: string, staged: StagedBytes, { signal, keep }: PutOptions): Promise<void> {
    if (staged.bytes?.length === staged.size && threads.areUsable()) {
      const isStored = await storeSmall(key, staged.bytes).catch(async (error) => {
        if (!(error instanceof ThreadGone)) throw error
        // It may have come as far as that.
        if (!keep) await unlink(pathOf(key)).catch(() => {})
        return false
      })
      if (isStored) return
    }
    await using file = await durableFile(spool, staged, signal)
    signal?.throwIfAborted()
    await publish(file.path, key)
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

  async function storeSmall(key: string, bytes: Buffer): Promise<true> {
    const temp = await spool.reserve()
    let isGone = false
    try {
      isGone = await threads.place({ temp: temp.path, target: pathOf(key), bytes })
      if (!isGone) await publish(temp.path, key)
      return true
    } finally {
      if (isGone) temp.forget()
      else await temp.remove()
    }
  }

  /** Nothing of that name is not found; but if the root has gone as well, the disk has. */
  async function readFailure(error: unknown, key: string): Promise<Error> {
    // ELOOP: a symbolic link.
    if (!['ENOENT', 'ELOOP'].includes(codeOf(error))) return storeFailure(error, 'cannot read an image')
    const isThere = await lstat(root).catch(missingIsUndefined)
    return isThere ? new ObjectNotFound(key) : new StoreError(`${root} has gone`, { cause: error })
  }

  return {
    async put(key, staged, options = {}) {
      const done = put(key, staged, options)
      puts.add(done)
      await done.finally(() => puts.delete(done))
    },

    async stat(key) {
      try {
        const found = await lstat(pathOf(key))
        if (!found.isFile()) throw new ObjectNotFound(key)
        return { size: found.size }
      } catch (error) {
        throw await readFailure(error, key)
      }
    },

    async open(key, { range, signal } = {}) {
      signal?.throwIfAborted()
      try {
        const opened = await read(pathOf(key), range)
        if (opened === undefined) throw new ObjectNotFound(key)
        return opened
      } catch (error) {
        throw await readFailure(error, key)
      }
    },

    mark(key) {
      try {
        const found = lstatSync(pathOf(key), MAY_BE_MISSING)
        return found?.isFile() ? `${found.ino} ${found.size} ${found.mtimeMs}` : undefined
      } catch {
        // Whoever reads it now is told what is wrong.
      }
    },

    async delete(key) {
      try {
        await unlink(pathOf(key))
        await rmdir(folderOf(key))
      } catch (error) {
        // Nothing to delete, or other images in the folder.
        if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(error)))
          throw storeFailure(error, 'cannot delete an image')
      }
    },

    async *list({ before = '~', startingWith = '', latestFirst = false, wanted = () => true } = {}) {
      const mayHold = (shard: string) => shard.startsWith(startingWith) || startingWith.startsWith(shard)
      const shards = (await names(root)).filter((name) => isShard(name) && name < before && mayHold(name))
      const inOrder = (all: string[]) => (latestFirst ? all.reverse() : all)
      let looked = 0
      for (const shard of inOrder(shards)) {
        for (const key of inOrder(await names(join(root, shard), { mayBeMissing: true }))) {
          looked += 1
          // Others want to be served, too.
          if (looked % TURN === 0) await setImmediate()
          if (!belongsIn(shard, key) || key >= before || !key.startsWith(startingWith)) continue
          if (!wanted(key)) continue
          const found = await lstat(join(root, shard, key)).catch(missingIsUndefined)
          if (found?.isFile()) yield { key, size: found.size }
        }
      }
    },

    async check() {
      const temp = await spool.create({ anyway: true })
      await temp.remove()
      await names(root)
    },

    async close() {
      await threads.close()
      // What comes after it: a name that is synced, or a file that nobody wants and is taken away again.
      await Promise.allSettled(puts)
    },
  }
}

/** Proves at start that a temp file can be made and given a name below `root`. */
async function probe(root: string, spool: Spool): Promise<void> {
  const temp = await spool.create({ anyway: true })
  const target = join(root, `.${basename(temp.path)}`)
  try {
    await linkNew(temp.path, target)
    await unlink(target)
  } catch (error) {
    const advice =
      codeOf(error) === 'EXDEV' ? ` and ${spool.dir} must be on one file system` : ' must be writable'
    throw new StoreError(`${root}${advice}`, { cause: error })
  } finally {
    await temp.remove()
  }
}

/** A folder's entries in the order of their names. A shard may vanish while it is looked for; the root may not. */
async function names(folder: string, { mayBeMissing } = { mayBeMissing: false }): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    if (mayBeMissing && ['ENOENT', 'ENOTDIR'].includes(codeOf(error))) return []
    throw storeFailure(error, 'cannot list images')
  }
}

function missingIsUndefined(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? ''
}
