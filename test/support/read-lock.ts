import { DatabaseSync } from 'node:sqlite'

/**
 * Makes an SQLite file and holds a read lock on it for some milliseconds, as another process does that
 * is just opening it. No process can switch the file to WAL meanwhile.
 */
export function readLockFor(milliseconds: number, path: string): Disposable {
  const db = new DatabaseSync(path)
  db.exec('CREATE TABLE other (value); BEGIN')
  db.prepare('SELECT value FROM other').all()
  setTimeout(() => db.exec('COMMIT'), milliseconds)
  return { [Symbol.dispose]: () => db.close() }
}
