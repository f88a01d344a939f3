import { closeSync, openSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'

/**
 * Makes the file, if there is none, before SQLite would with more open rights; its `-wal` and `-shm` follow it in that. One
 * that exists is not touched: closing it here would drop the locks that this process has on it (https://sqlite.org/howtocorrupt.html).
 */
export function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** Runs something in a transaction that no other process can get between. Rejects at once, but for `busy_timeout`, if one is under way. */
export function immediately<T>(db: DatabaseSync, act: () => T): T {
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = act()
    db.exec('COMMIT')
    return result
  } catch (error) {
    // Some failures, such as a full disk, have ended it already.
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}
