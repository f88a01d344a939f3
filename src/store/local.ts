import { lstatSync } from 'node:fs'
import { lstat, mkdir, readdir, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Spool } from '../spool.ts'
import { codeOf } from './error-code.ts'
import { syncFolder } from './folder-sync.ts'
import { linkNew } from './link-new.ts'
import { localWriter } from './local-writer.ts'
import { type FileReaderOptions, fileReader } from './read-file.ts'
import { belongsIn, isShard, shardOf } from './shards.ts'
import { ObjectNotFound, type Store, StoreError, storeFailure } from './store.ts'

const MAY_BE_MISSING = { throwIfNoEntry: false } as const

export interface LocalStoreOptions extends Partial<FileReaderOptions> {
  readonly root: string
  readonly spool: Spool
}

/** Names that are looked at in one turn of the event loop. */
const TURN = 500

/**
 * Images as files below `root`, in folders by the leading characters of their names.
 *
 * `spool` holds the temp files and must be on the same file system. Rejects at once, with what to do, if the folder cannot be
 * used.
 */
export async function openLocalStore({
  root,
  spool,
  mayWait = false,
  budget,
}: LocalStoreOptions): Promise<Store> {
  const read = fileReader({ mayWait, budget })
  await mkdir(root, { recursive: true, mode: 0o750 }).catch((error) => {
    throw storeFailure(error, `${root} must be a folder that this user can write`)
  })
  await syncFolder(dirname(root))
  await probe(root, spool)

  // Not `join`, which looks at each character: neither part can lead elsewhere.
  const base = resolve(root)
  const folderOf = (key: string) => `${base}/${shardOf(key)}`
  const pathOf = (key: string) => `${folderOf(key)}/${key}`
  const writer = localWriter({ root: base, spool, folderOf, pathOf })

  /** Nothing of that name is not found; but if the root has gone as well, the disk has. */
  async function readFailure(error: unknown, key: string): Promise<Error> {
    // ELOOP: a symbolic link.
    if (!['ENOENT', 'ELOOP'].includes(codeOf(error))) return storeFailure(error, 'cannot read an image')
    const isThere = await lstat(root).catch(missingIsUndefined)
    return isThere ? new ObjectNotFound(key) : new StoreError(`${root} has gone`, { cause: error })
  }

  return {
    put: writer.put,

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

    close: writer.close,
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
