import { closeSync, openSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

/** SQLite's code for a file that another process has locked. */
const SQLITE_BUSY = 5

/**
 * Milliseconds for which a call waits at a stretch until other processes are done. The whole process
 * stands still meanwhile, so it is short; one transaction takes some 50 µs.
 */
export const BUSY_TIMEOUT = 20
/** Milliseconds after which a file that stays locked is given up, and between two tries. */
const LOCKED_LIMIT = 2000
const LOCKED_PAUSE = 50

/**
 * Retries something that holds no lock when it has failed, as long as another process has the file
 * locked, for two seconds. Rejects with what it fails with then, or else. The pause is random: two
 * processes that start together, each waiting for the other, do not meet again.
 */
export async function retryWhileLocked<T>(act: () => T): Promise<T> {
  for (const begun = performance.now(); ; await sleep(LOCKED_PAUSE * (0.5 + Math.random()))) {
    try {
      return act()
    } catch (error) {
      // The higher bits say why.
      const isLocked = ((error as { errcode?: number }).errcode ?? 0) % 256 === SQLITE_BUSY
      if (!isLocked || performance.now() - begun > LOCKED_LIMIT) throw error
    }
  }
}

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
