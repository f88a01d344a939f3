import { dirname } from 'node:path'
import { makeFolder, readIfThere, readOrCreate, replaceFile } from '../data-file.ts'
import { lock } from './lock.ts'
import { formatKeyFile, type KeyRecord, keyFileIn, parseKeyFile } from './record.ts'

/** The keys of `keys.json`; undefined if there is no such file. Throws a `ConfigError` if it is not usable. */
export async function readKeys(dataDir: string): Promise<KeyRecord[] | undefined> {
  const path = keyFileIn(dataDir)
  const text = await readIfThere(path)
  return text === undefined ? undefined : parseKeyFile(path, text)
}

/**
 * Puts what `change` makes of the keys in their place, one change after the other however many ask at once. If `change` throws,
 * all stays as it was.
 */
export async function changeKeys(
  dataDir: string,
  change: (keys: readonly KeyRecord[]) => readonly KeyRecord[],
): Promise<void> {
  const path = keyFileIn(dataDir)
  await makeFolder(dirname(path))
  using _ = await lock(`${path}.lock`)
  let keys = await readKeys(dataDir)
  if (keys === undefined) {
    // A server that starts for the first time makes the file too, without the lock: what it has shown must not be replaced.
    const { isNew, text } = await readOrCreate(path, formatKeyFile(change([])))
    if (isNew) return
    keys = parseKeyFile(path, text)
  }
  await replaceFile(path, formatKeyFile(change(keys)))
}
