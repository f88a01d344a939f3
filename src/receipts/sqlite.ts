import { DatabaseSync } from 'node:sqlite'
import { BUSY_TIMEOUT, immediately, makePrivate, retryWhileLocked } from '../sqlite-file.ts'
import { keptUntil, LONGEST_SENDING, type ReceiptStore } from './receipts.ts'
import { decode, encode, MOST_CHARACTERS, markOf } from './record.ts'

/** Written to the file as `user_version`. */
const SCHEMA_VERSION = 1

/** An image is one row, and so one write, however many receipts it gets at once. `ends` is in Unix ms. */
const SCHEMA = `
  CREATE TABLE images (
    mark BLOB NOT NULL UNIQUE, ends INTEGER NOT NULL, total INTEGER NOT NULL, latest TEXT NOT NULL, deleted INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX images_by_end ON images (ends);
  PRAGMA user_version = ${SCHEMA_VERSION};
`

/** Images that are removed at a stretch. */
const AT_ONCE = 200

/**
 * Receipts in a file that all processes of a machine share and that outlives them. The file system
 * must be a local one. Makes the file if there is none, for its owner's eyes only. Rejects with what
 * SQLite says if it cannot be used.
 */
export async function openSqliteReceipts({ path }: { path: string }): Promise<ReceiptStore> {
  makePrivate(path)
  // A call that meets a lock for longer fails; whoever adds tries again later.
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
  try {
    await retryWhileLocked(() => prepareFile(db))
    return receiptsIn(db)
  } catch (error) {
    db.close()
    throw error
  }
}

function prepareFile(db: DatabaseSync): void {
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  immediately(db, () => {
    const version = Number(db.prepare('PRAGMA user_version').get()?.user_version)
    if (version > SCHEMA_VERSION) throw new Error(`it was made by a newer version (${version})`)
    if (version === 0) db.exec(SCHEMA)
  })
}

function receiptsIn(db: DatabaseSync): ReceiptStore {
  const add = db.prepare(
    `INSERT INTO images (mark, ends, total, latest, deleted) VALUES (?, ?, ?, ?, 0)
     ON CONFLICT DO UPDATE SET ends = max(ends, excluded.ends), total = total + excluded.total,
       latest = substr(excluded.latest || latest, 1, ${MOST_CHARACTERS}) WHERE deleted = 0`,
  )
  const read = db.prepare('SELECT total, latest FROM images WHERE mark = ?')
  const forget = db.prepare(
    `INSERT INTO images (mark, ends, total, latest, deleted) VALUES (?, ?, 0, '', 1)
     ON CONFLICT DO UPDATE SET ends = excluded.ends, total = 0, latest = '', deleted = 1`,
  )
  const purge = db.prepare(
    `DELETE FROM images WHERE rowid IN (SELECT rowid FROM images WHERE ends <= ? LIMIT ${AT_ONCE})`,
  )

  return {
    async add(batches) {
      immediately(db, () => {
        for (const { name, count, latest } of batches)
          add.run(markOf(name), keptUntil(name, latest.at(-1)?.at ?? 0), count, encode(latest))
      })
    },

    async read(name) {
      const row = read.get(markOf(name))
      return { total: Number(row?.total ?? 0), latest: decode(String(row?.latest ?? '')) }
    },

    async forget(names, now) {
      immediately(db, () => {
        for (const name of names)
          forget.run(markOf(name), Math.min(name.expires * 1000, now + LONGEST_SENDING))
      })
    },

    async purge(now) {
      // Others get their turn in between.
      while (Number(purge.run(now).changes) === AT_ONCE) await new Promise(setImmediate)
    },

    async close() {
      if (db.isOpen) db.close()
    },
  }
}
