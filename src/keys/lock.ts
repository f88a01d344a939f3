import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from '../config.ts'
import { giveToOwnerOfFolder } from '../data-file.ts'

/** SQLite's code for "somebody else has it". */
const BUSY = 5
/** Milliseconds that others are waited for; what they do under the lock takes a few. */
const PATIENCE = 10_000

/**
 * Holds a lock until it is disposed of; waits while another process has it. It is SQLite's lock on an empty file: the system takes it
 * from a process that dies, so none is ever left behind, and process ids, which repeat in containers, play no part. The file
 * stays, as removing it would let two in.
 */
export async function lock(path: string): Promise<Disposable> {
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    const giveUp = performance.now() + PATIENCE
    while (!isTaken(database)) {
      if (performance.now() > giveUp) throw new ConfigError(`${path} is held by another command; try again`)
      await sleep(20)
    }
    await giveToOwnerOfFolder(path)
  } catch (error) {
    database.close()
    throw error
  }
  return { [Symbol.dispose]: () => database.close() }
}

function isTaken(database: DatabaseSync): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if ((error as { errcode?: number }).errcode === BUSY) return false
    throw error
  }
}
