import { fstatSync } from 'node:fs'
import { open } from 'node:fs/promises'

/**
 * `syncFolder` for many at once. Whoever asks while a sync of the same folder runs shares the next one with
 * all others who wait, since the running one may have begun before their change.
 */
export function folderSync(): (path: string) => Promise<string> {
  const running = new Map<string, Promise<string>>()
  const waiting = new Map<string, Promise<string>>()

  function start(path: string): Promise<string> {
    waiting.delete(path)
    const sync = syncFolder(path).finally(() => {
      if (running.get(path) === sync) running.delete(path)
    })
    running.set(path, sync)
    return sync
  }

  return (path) => {
    const current = running.get(path)
    if (current === undefined) return start(path)
    const shared = waiting.get(path)
    if (shared !== undefined) return shared
    const next = current.then(
      () => start(path),
      () => start(path),
    )
    waiting.set(path, next)
    return next
  }
}

/**
 * Makes changes to a folder's entries durable. Answers with what tells the folder from another of the same name, made when it was gone: its
 * number, which may be given again at once, and the time of its making, where the file system keeps that.
 */
export async function syncFolder(path: string): Promise<string> {
  await using folder = await open(path, 'r')
  await folder.sync()
  // Of what is open, so the disk is not asked: not worth a thread.
  const { dev, ino, birthtimeNs } = fstatSync(folder.fd, { bigint: true })
  return `${dev} ${ino} ${birthtimeNs}`
}
