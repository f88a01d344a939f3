import { randomUUID } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { BUSY_TIMEOUT, immediately, makePrivate, retryWhileLocked } from '../sqlite-file.ts'
import { exceeded, type Hold, lastFree, type Slot, timesOf, usageOf } from './slots.ts'
import { type Usage, UsageError } from './usage.ts'

/** Written to the file as `user_version`. */
const SCHEMA_VERSION = 2

/**
 * `holds` has the sums of open reservations, so that no call adds up `reservations`, in which each
 * is found by its id alone. AUTOINCREMENT, as a reservation whose bucket is gone must not take its
 * bytes out of a later one.
 */
const RESERVATIONS = `
  CREATE TABLE holds (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, expires INTEGER NOT NULL, ends INTEGER NOT NULL,
    bytes INTEGER NOT NULL, UNIQUE (key, expires, ends)
  ) STRICT;
  CREATE TABLE reservations (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, bytes INTEGER NOT NULL, slot INTEGER NOT NULL, hold INTEGER NOT NULL,
    until INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX reservations_by_end ON reservations (until);
  PRAGMA user_version = ${SCHEMA_VERSION};
`

const SCHEMA = `
  CREATE TABLE slots (key TEXT, ends INTEGER, bytes INTEGER NOT NULL, PRIMARY KEY (key, ends)) STRICT, WITHOUT ROWID;
  CREATE TABLE counters (name TEXT, ends INTEGER, count INTEGER NOT NULL, PRIMARY KEY (name, ends)) STRICT, WITHOUT ROWID;
  CREATE INDEX counters_by_end ON counters (ends);
  ${RESERVATIONS}
`

/**
 * Version 1 had no `holds`, and added up `reservations` each time. Their holds end with their
 * minute, and they can be settled for a month, as neither the hold nor the window is known here.
 */
const FROM_VERSION_1 = `
  ALTER TABLE reservations RENAME TO version_1;
  ${RESERVATIONS}
  INSERT INTO holds (key, expires, ends, bytes)
    SELECT key, (expires + 59999) / 60000 * 60000 AS minute, max(ends), sum(bytes) FROM version_1 GROUP BY key, minute;
  INSERT INTO reservations (id, key, bytes, slot, hold, until)
    SELECT old.id, old.key, old.bytes, old.ends, holds.id, max(old.expires, old.ends) + 31 * 86400000
    FROM version_1 AS old JOIN holds
      ON holds.key = old.key AND holds.expires = (old.expires + 59999) / 60000 * 60000;
  DROP TABLE version_1;
`

/**
 * Rows that a call drops at most, of reservations or counters that nobody needs any more: more than
 * it adds, so none are left behind.
 */
const FORGOTTEN_AT_ONCE = 16

/**
 * Usage in a file that all processes of a machine share and that outlives them. The file system must be a local one. Makes the
 * file if there is none, for its owner's eyes only. Rejects with a `UsageError` that names the file if it is damaged, cannot be
 * written, or was made by a newer version.
 */
export async function openSqliteUsage({ path }: { path: string }): Promise<Usage> {
  try {
    makePrivate(path)
    const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
    try {
      await retryWhileLocked(() => prepareFile(db))
      return usageIn(db, path)
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    throw failure(error, path)
  }
}

function prepareFile(db: DatabaseSync): void {
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  const { quick_check: verdict } = db.prepare('PRAGMA quick_check(1)').get() ?? {}
  if (verdict !== 'ok') throw new UsageError(String(verdict))
  immediately(db, () => {
    const version = Number(db.prepare('PRAGMA user_version').get()?.user_version)
    if (version > SCHEMA_VERSION) throw new UsageError(`it was made by a newer version (${version})`)
    if (version === 0) db.exec(SCHEMA)
    if (version === 1) db.exec(FROM_VERSION_1)
  })
}

function usageIn(db: DatabaseSync, path: string): Usage {
  const statements = prepareStatements(db)

  /** Runs something in a transaction that no other process can get between. */
  async function attempt<T>(act: () => T): Promise<T> {
    return retryWhileLocked(() => immediately(db, act)).catch((error) => {
      throw failure(error, path)
    })
  }

  function stateOf(key: string) {
    // Their columns are those of the two types.
    const slots = statements.slotsOf.all(key) as unknown as Slot[]
    return { slots, held: statements.heldOf.all(key) as unknown as Hold[] }
  }

  return {
    reserve: (request) =>
      attempt(() => {
        const { key, bytes, limit, window, now, id = randomUUID() } = request
        const free = lastFree(now, window)
        statements.forget.run(now)
        statements.dropSlots.run(key, free)
        statements.dropHolds.run(key, now)
        const counted = Number(statements.sum.get(key, key)?.counted)
        if (counted + bytes > limit) return exceeded(stateOf(key), request)
        const { slot, hold, until } = timesOf(request)
        const bucket = Number(statements.hold.get(key, hold.expires, hold.ends, bytes)?.id)
        statements.keep.run(id, key, bytes, slot, bucket, until)
        return { granted: true, key, id, bytes }
      }),

    settle: ({ id }) =>
      attempt(() => {
        statements.fill.run(id)
        statements.unhold.run(id)
        statements.drop.run(id)
      }),

    release: ({ id }) =>
      attempt(() => {
        statements.unhold.run(id)
        statements.drop.run(id)
      }),

    read: ({ key, window, now }) => attempt(() => usageOf(stateOf(key), { window, now })),

    count: ({ name, window, now }) =>
      attempt(() => {
        const ends = (Math.floor(now / window) + 1) * window
        // Not those that ended just now: another process's clock was read a moment ago.
        statements.dropCounters.run(now - window)
        return { count: Number(statements.count.get(name, ends)?.count), endsIn: ends - now }
      }),

    check: () => attempt(() => void statements.sum.get('', '')),

    async close() {
      if (db.isOpen) db.close()
    },
  }
}

function prepareStatements(db: DatabaseSync) {
  return {
    forget: db.prepare(
      `DELETE FROM reservations
       WHERE id IN (SELECT id FROM reservations WHERE until <= ? ORDER BY until LIMIT ${FORGOTTEN_AT_ONCE})`,
    ),
    dropSlots: db.prepare('DELETE FROM slots WHERE key = ? AND ends <= ?'),
    // But not its reservations: they may yet be settled, and count for as long as others of their
    // time.
    dropHolds: db.prepare('DELETE FROM holds WHERE key = ? AND expires <= ?'),
    sum: db.prepare(
      `SELECT (SELECT coalesce(sum(bytes), 0) FROM slots WHERE key = ?)
            + (SELECT coalesce(sum(bytes), 0) FROM holds WHERE key = ?) AS counted`,
    ),
    hold: db.prepare(
      `INSERT INTO holds (key, expires, ends, bytes) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes RETURNING id`,
    ),
    keep: db.prepare(
      'INSERT INTO reservations (id, key, bytes, slot, hold, until) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    fill: db.prepare(
      `INSERT INTO slots (key, ends, bytes) SELECT key, slot, bytes FROM reservations WHERE id = ?
       ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes`,
    ),
    unhold: db.prepare(
      `UPDATE holds SET bytes = holds.bytes - open.bytes FROM reservations AS open
       WHERE open.id = ? AND holds.id = open.hold`,
    ),
    drop: db.prepare('DELETE FROM reservations WHERE id = ?'),
    slotsOf: db.prepare('SELECT ends, bytes FROM slots WHERE key = ?'),
    heldOf: db.prepare('SELECT expires, ends, bytes FROM holds WHERE key = ?'),
    dropCounters: db.prepare(
      `DELETE FROM counters WHERE (name, ends) IN
         (SELECT name, ends FROM counters WHERE ends <= ? ORDER BY ends LIMIT ${FORGOTTEN_AT_ONCE})`,
    ),
    count: db.prepare(
      `INSERT INTO counters (name, ends, count) VALUES (?, ?, 1)
       ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count`,
    ),
  }
}

function failure(error: unknown, path: string): UsageError {
  return new UsageError(`cannot use ${path}: ${(error as Error).message}`, { cause: error })
}
