import { randomBytes } from 'node:crypto'
import { chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ConfigError } from './config.ts'
import { syncFolder } from './store/folder-sync.ts'
import { linkNew } from './store/link-new.ts'

/** The small files of the data folder: whole at any moment, on the disk before anything is said, for their owner alone. */

/**
 * Reads a file of the data folder, or makes it; of two processes that start together, both read what one wrote. Rejects with
 * what the file system says, or if there is none where none may be made.
 */
export async function readOrCreate(
  path: string,
  content: string,
  { mayCreate = true }: { mayCreate?: boolean } = {},
): Promise<{ text: string; isNew: boolean }> {
  const existing = await readIfThere(path)
  if (existing !== undefined) return { text: existing, isNew: false }
  if (!mayCreate) throw new ConfigError(`${path} is gone: put it back, or restart the server`)
  await makeFolder(dirname(path))
  const draft = await writeDraft(path, content)
  try {
    // The file gets its name only when it is whole, and only if no other process was quicker.
    await linkNew(draft, path)
    await syncFolder(dirname(path)).catch(async (error) => {
      // Whoever finds it next time would take its key for one that was shown.
      await rm(path, { force: true })
      throw error
    })
    return { text: content, isNew: true }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return { text: await readFile(path, 'utf8'), isNew: false }
  } finally {
    await rm(draft, { force: true })
  }
}

/** Puts new content in place of a file's, in one step; a failure leaves the old content. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const draft = await writeDraft(path, content)
  try {
    await rename(draft, path)
  } finally {
    await rm(draft, { force: true })
  }
  await syncFolder(dirname(path))
}

/** The text of a file, or undefined if there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** Makes a folder that only its owner can enter, unless it is there. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
}

/** Gives what root has made to whom the folder belongs: a server that runs as that user could not read it otherwise. */
export async function giveToOwnerOfFolder(path: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = await stat(dirname(path))
  await chown(path, uid, gid)
}

async function writeDraft(path: string, content: string): Promise<string> {
  const draft = `${path}.${randomBytes(8).toString('hex')}`
  try {
    await writeFile(draft, content, { flag: 'wx', mode: 0o600, flush: true })
    await giveToOwnerOfFolder(draft)
    return draft
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}
