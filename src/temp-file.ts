import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { storeFailure } from './store/store.ts'

// With plain descriptors: a FileHandle costs as much as what is done with it.
const open = promisify(fs.open)
const writeSome = promisify(fs.write)
const datasync = promisify(fs.fdatasync)
const close = promisify(fs.close)
const unlink = promisify(fs.unlink)

/** A file that is being written and that nobody else sees. Takes one call at a time, but for `remove`. */
export interface TempFile {
  readonly path: string
  /** Appends bytes. */
  write(bytes: Buffer): Promise<void>
  /** Brings what was written onto the disk. Resolves with how many bytes that are. */
  sync(): Promise<number>
  /** Closes and removes the file; idempotent, and never fails. */
  remove(): Promise<void>
}

/** Makes an empty file, which must not be there yet. `forget` is told when it has been removed. */
export async function makeTempFile(path: string, forget: () => void): Promise<TempFile> {
  const descriptor = await open(path, 'wx', 0o640)
  let size = 0
  let underWay: Promise<unknown> | undefined
  let removal: Promise<void> | undefined

  /** Remembers what is under way: a descriptor that is closed beneath it may be another file's a moment later. */
  async function use<T>(call: () => Promise<T>, failing: string): Promise<T> {
    try {
      if (removal) throw new Error('the temp file is removed')
      const done = call()
      underWay = done
      return await done
    } catch (error) {
      throw storeFailure(error, failing)
    }
  }

  async function writeAll(bytes: Buffer): Promise<void> {
    // A file system may take less than it is given.
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await writeSome(descriptor, bytes, done, bytes.length - done, size)
      if (bytesWritten === 0) throw new Error('the disk takes no bytes, and says nothing')
      done += bytesWritten
      size += bytesWritten
    }
  }

  async function removeOnce(): Promise<void> {
    await underWay?.catch(() => {})
    await close(descriptor).catch(() => {})
    // What cannot be removed now, the next sweep removes.
    await unlink(path).catch(() => {})
    forget()
  }

  return {
    path,
    write: (bytes) => use(() => writeAll(bytes), 'cannot write a temp file'),
    sync: () => use(() => datasync(descriptor).then(() => size), 'cannot finish a temp file'),
    remove() {
      removal ??= removeOnce()
      return removal
    },
  }
}
