import { open } from 'node:fs/promises'

/**
 * `syncFolder` for many at once. Whoever asks while a sync of the same folder runs shares the next one with
 * all others who wait, since the running one may have begun before their change.
 */
export function folderSync(): (path: string) => Promise<void> {
  const running = new Map<string, Promise<void>>()
  const waiting = new Map<string, Promise<void>>()

  function start(path: string): Promise<void> {
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

/** Makes changes to a folder's entries durable. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r')
  await folder.sync()
}
