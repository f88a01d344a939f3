import { link, lstat, rename } from 'node:fs/promises'

/** What `link` answers on a file system that has no hard links. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/**
 * Gives a whole file its name, in one step that others see all of or nothing, unless the name is taken: then it rejects with
 * `EEXIST`. The old name may be gone afterwards: where there are no hard links, a look and a `rename` must do.
 */
export async function linkNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined || !NO_LINKS.has(code)) throw error
    const taken = await lstat(to).then(
      () => true,
      () => false,
    )
    if (taken) throw Object.assign(new Error(`${to} exists`), { code: 'EEXIST' })
    await rename(from, to)
  }
}
