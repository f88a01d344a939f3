import { stat } from 'node:fs/promises'

/**
 * Goes on as whom the data folder belongs to, if this is root: what root makes, the server could not read; and root finds nothing wrong with
 * permissions. Rejects with what the file system says if there is no such folder.
 */
export async function becomeOwnerOf(folder: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = await stat(folder)
  if (uid === 0) return
  process.setgroups?.([])
  process.setgid?.(gid)
  process.setuid?.(uid)
}
