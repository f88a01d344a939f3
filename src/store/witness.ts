import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { isKey, type Store, storeFailure } from './store.ts'

/** Milliseconds for which what was read from a bucket is believed to be there still: other machines may have deleted it. */
const TRUST = 60_000

/** Knows whether an object may have been deleted since it was read. All of it is synchronous, as it is asked for each hit. */
export interface Witness {
  /** To be asked before an object is read: a mark that holds until the object is deleted. Undefined if there is none to be had. */
  mark(key: string): string | undefined
  holds(key: string, mark: string): boolean
  /** To be told when objects have been deleted, before anybody hears of it. Ends their marks, in all processes, or throws. */
  deleted(keys: readonly string[]): void
  /** Told when nothing that was read under a mark is held any more. */
  forget(key: string, mark: string): void
}

/** Where the store itself can tell at once, as the file system does: a delete by anybody at all ends a mark, even one by hand. */
export function storeWitness(mark: NonNullable<Store['mark']>): Witness {
  return { mark, holds: (key, before) => mark(key) === before, deleted() {}, forget() {} }
}

/** A store whose deletes are told to a witness, for those who keep nothing themselves beside others who may. */
export function tellingOfDeletes(store: Store, witness: Witness): Store {
  const { deleteMany } = store
  const telling = async <T>(keys: readonly string[], work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } finally {
      witness.deleted(keys)
    }
  }
  return {
    ...store,
    delete: (key) => telling([key], () => store.delete(key)),
    ...(deleteMany && {
      deleteMany: (keys: readonly string[]) => telling(keys, () => deleteMany.call(store, keys)),
    }),
  }
}

/**
 * For a store that cannot tell, as a bucket: each image that is held has a symbolic link in `folder`, by the image's name, which leads to nothing
 * but a random text: the mark. Whoever deletes an image removes its link, and whoever reads it makes one before, unless there is one, so all
 * processes with this folder share it. A link that is missing, or another one, only means that the image has to be read again; so
 * it can be removed at any time, and none needs to outlive a start.
 *
 * Processes with other folders are not heard of, so no mark holds for longer than a minute. `now` is milliseconds of a clock that is never set.
 */
export function linkWitness(
  folder: string,
  { now = () => performance.now() }: { now?: () => number } = {},
): Witness {
  mkdirSync(folder, { recursive: true, mode: 0o750 })
  const pathOf = (key: string) => join(folder, key)

  function textOf(key: string): string | undefined {
    try {
      return readlinkSync(pathOf(key))
    } catch {
      return undefined
    }
  }

  function remove(key: string): void {
    try {
      unlinkSync(pathOf(key))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        throw storeFailure(error, 'cannot forget an image')
    }
  }

  // Left by processes that were killed. Those that run read anew.
  for (const key of readdirSync(folder)) if (isKey(key)) remove(key)

  return {
    mark(key) {
      if (!isKey(key)) return undefined
      // Taken first: the minute begins before the reading does.
      const begun = now()
      const text = randomBytes(12).toString('base64url')
      try {
        symlinkSync(text, pathOf(key))
        return `${begun} ${text}`
      } catch {
        // Somebody else's, or there can be no links here, and then nothing is held.
        const others = textOf(key)
        return others === undefined ? undefined : `${begun} ${others}`
      }
    },
    holds(key, mark) {
      return now() - Number.parseFloat(mark) < TRUST && textOf(key) === textIn(mark)
    },
    deleted(keys) {
      const failures = keys.flatMap((key) => {
        try {
          remove(key)
          return []
        } catch (error) {
          return [error]
        }
      })
      if (failures.length > 0) throw failures[0]
    },
    forget(key, mark) {
      try {
        // Not the link of somebody who has read it since.
        if (textOf(key) === textIn(mark)) remove(key)
      } catch {
        // It only stays where it is.
      }
    },
  }
}

function textIn(mark: string): string {
  return mark.slice(mark.indexOf(' ') + 1)
}
