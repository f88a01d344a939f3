import { open } from 'node:fs/promises'
import { readOrCreate } from '../data-file.ts'
import { problemWith } from '../errors.ts'
import type { Keyring, KeyringOptions } from '../keys.ts'
import { knownKeys } from './known.ts'
import { formatKeyFile, keyFileIn, newKey, parseKeyFile, toApiKey } from './record.ts'

/** Milliseconds in which the file is looked at once at the most. */
const RECHECK = 1000

/** The keys of `keys.json`, which is made with a first key if it is missing, and read again when it has changed. */
export async function openKeyFile(
  dataDir: string,
  { onNote, now, mayCreate }: Required<KeyringOptions>,
): Promise<Keyring> {
  const path = keyFileIn(dataDir)
  const first = newKey('first', now())
  const { isNew } = await readOrCreate(path, formatKeyFile([first.record]), { mayCreate })
  const file = watchedFile(path)
  await file.look()
  if (file.size() === 0) onNote(`${path} has no key: nobody can upload until one is made`)
  const look = carefully(path, file, onNote)
  let looked = performance.now()
  let looking: Promise<void> | undefined

  /** Whoever comes while a look is under way waits for it: a key that was revoked before it gets nobody in after it. */
  function lookNowAndThen(): Promise<void> | undefined {
    if (looking === undefined && performance.now() - looked >= RECHECK) {
      looked = performance.now()
      looking = look().finally(() => {
        looking = undefined
      })
    }
    return looking
  }

  return {
    async find(presented) {
      await lookNowAndThen()
      return file.find(presented, now())
    },
    alwaysLooksUp: () => true,
    isShared: () => file.size() > 1,
    ...(isNew && { firstKey: first.key }),
  }
}

/** A file of keys as it was at the last look. There is no `fs.watch`, which many volumes and network file systems leave silent. */
function watchedFile(path: string) {
  let stamp: string | undefined
  let known = knownKeys([])
  let size = 0
  let gone: Error | undefined
  return {
    size: () => size,
    /** Throws the problem `auth_unavailable` while the file is gone. */
    find(presented: string, now: number) {
      if (gone) throw problemWith('auth_unavailable', { cause: gone })
      return known(presented, now)
    },
    /** Rejects if the file cannot be read or used; the keys then stay, except if it is gone. */
    async look(): Promise<void> {
      try {
        const changed = await readIfChanged(path, stamp)
        gone = undefined
        if (changed === undefined) return
        // Kept even if the text is of no use, which is then said only once.
        stamp = changed.stamp
        const keys = parseKeyFile(path, changed.text).map(toApiKey)
        known = knownKeys(keys)
        size = keys.length
      } catch (error) {
        // Whoever deletes it wants its keys to end; and if a volume is gone, no key is wrong for that.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') gone = error as Error
        throw error
      }
    },
  }
}

/** Looks, and says once what is wrong instead of rejecting. */
function carefully(path: string, file: { look(): Promise<void> }, onNote: (note: string) => void) {
  let said: string | undefined
  return async (): Promise<void> => {
    try {
      await file.look()
      said = undefined
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const note =
        code === 'ENOENT'
          ? `${path} is gone: nobody can upload until it is back, or a restart makes a new first key`
          : `${code === undefined ? message : `${path} cannot be read (${code})`}; until then the keys stay as they were`
      if (note !== said) onNote(note)
      said = note
    }
  }
}

/** What a file holds and what tells its next change, unless `stamp` says that nothing changed. */
async function readIfChanged(path: string, stamp: string | undefined) {
  await using file = await open(path, 'r')
  const { ino, size, mtimeNs, ctimeNs } = await file.stat({ bigint: true })
  const current = [ino, size, mtimeNs, ctimeNs].join()
  return current === stamp ? undefined : { stamp: current, text: await file.readFile('utf8') }
}
