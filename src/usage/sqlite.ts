import { randomUUID } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { immediately, makePrivate } from '../sqlite-file.ts'
import { exceeded, type HeldBytes, lastFree, type Slot, slotEnd, usageOf } from './slots.ts'
import { type Usage, UsageError } from './usage.ts'

/** SQLite's code for a file that another process has locked. */
const SQLITE_BUSY = 5

/** Written to the file as `user_version`. */
const SCHEMA_VERSION = 1

const SCHEMA = `
  CREATE TABLE slots (key TEXT, ends INTEGER, bytes INTEGER NOT NULL, PRIMARY KEY (key, ends)) STRICT, WITHOUT ROWID;
  CREATE TABLE reservations (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, bytes INTEGER NOT NULL, ends INTEGER NOT NULL, expires INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX reservations_by_key ON reservations (key, expires);
  CREATE TABLE counters (name TEXT, ends INTEGER, count INTEGER NOT NULL, PRIMARY KEY (name, ends)) STRICT, WITHOUT ROWID;
  CREATE INDEX counters_by_end ON counters (ends);
  PRAGMA user_version = ${SCHEMA_VERSION};
`

/**
 * ms for which a call waits at a stretch until other processes are done. The whole process stands still meanwhile, so it is short; one
 * transaction takes some 50 µs.
 */
const BUSY_TIMEOUT = 20
/** ms after which a file that stays locked is given up, and between two tries. */
const LOCKED_LIMIT = 2000
const LOCKED_PAUSE = 50

/**
 * Usage in a file that all processes of a machine share and that outlives them. The file system must be a local one. Makes the
 * file if there is none, for its owner's eyes only. Rejects with a `UsageError` that names the file if it is damaged, cannot be
 * written, or was made by a newer version.
 */
export async function openSqliteUsage({ path }: { path: string }): Promise<Usage> {
  try {
    makePrivate(path)
    const db = new DatabaseSync(path, { timeout: LOCKED_LIMIT })
    try {
      prepareFile(db)
      db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`)
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
  })
}

function usageIn(db: DatabaseSync, path: string): Usage {
  const statements = prepareStatements(db)

  /** Runs something in a transaction that no other process can get between. */
  async function attempt<T>(act: () => T): Promise<T> {
    for (const begun = performance.now(); ; await sleep(LOCKED_PAUSE)) {
      try {
        return immediately(db, act)
      } catch (error) {
        // The higher bits say why.
        const isLocked = ((error as { errcode?: number }).errcode ?? 0) % 256 === SQLITE_BUSY
        if (!isLocked || performance.now() - begun > LOCKED_LIMIT) throw failure(error, path)
      }
    }
  }

  function stateOf(key: string) {
    // Their columns are those of the two types.
    const slots = statements.slotsOf.all(key) as unknown as Slot[]
    return { slots, held: statements.heldOf.all(key) as unknown as HeldBytes[] }
  }

  return {
    reserve: (request) =>
      attempt(() => {
        const { key, bytes, limit, window, hold, now } = request
        const free = lastFree(now, window)
        statements.dropSlots.run(key, free)
        statements.dropHeld.run(key, now, free)
        const counted = Number(statements.sum.get(key, free, key, now)?.counted)
        if (counted + bytes > limit) return exceeded(stateOf(key), request)
        const id = randomUUID()
        statements.hold.run(id, key, bytes, slotEnd(now, window), now + Math.ceil(hold * 1000))
        return { granted: true, key, id, bytes }
      }),

    settle: ({ id }) =>
      attempt(() => {
        statements.fill.run(id)
        statements.drop.run(id)
      }),

    release: ({ id }) => attempt(() => void statements.drop.run(id)),

    read: ({ key, window, now }) => attempt(() => usageOf(stateOf(key), { window, now })),

    count: ({ name, window, now }) =>
      attempt(() => {
        const ends = (Math.floor(now / window) + 1) * window
        // Not those that ended just now: another process's clock was read a moment ago.
        statements.dropCounters.run(now - window)
        return { count: Number(statements.count.get(name, ends)?.count), endsIn: ends - now }
      }),

    check: () => attempt(() => void statements.sum.get('', 0, '', 0)),

    async close() {
      if (db.isOpen) db.close()
    },
  }
}

function prepareStatements(db: DatabaseSync) {
  return {
    dropSlots: db.prepare('DELETE FROM slots WHERE key = ? AND ends <= ?'),
    // Not all whose hold is over: they may yet be settled, and count for as long as others of their time.
    dropHeld: db.prepare('DELETE FROM reservations WHERE key = ? AND expires <= ? AND ends <= ?'),
    sum: db.prepare(
      `SELECT (SELECT coalesce(sum(bytes), 0) FROM slots WHERE key = ? AND ends > ?)
            + (SELECT coalesce(sum(bytes), 0) FROM reservations WHERE key = ? AND expires > ?) AS counted`,
    ),
    hold: db.prepare('INSERT INTO reservations (id, key, bytes, ends, expires) VALUES (?, ?, ?, ?, ?)'),
    fill: db.prepare(
      `INSERT INTO slots (key, ends, bytes) SELECT key, ends, bytes FROM reservations WHERE id = ?
       ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes`,
    ),
    drop: db.prepare('DELETE FROM reservations WHERE id = ?'),
    slotsOf: db.prepare('SELECT ends, bytes FROM slots WHERE key = ?'),
    heldOf: db.prepare('SELECT ends, bytes, expires FROM reservations WHERE key = ?'),
    dropCounters: db.prepare('DELETE FROM counters WHERE ends <= ?'),
    count: db.prepare(
      `INSERT INTO counters (name, ends, count) VALUES (?, ?, 1)
       ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count`,
    ),
  }
}

function failure(error: unknown, path: string): UsageError {
  return new UsageError(`cannot use ${path}: ${(error as Error).message}`, { cause: error })
}
