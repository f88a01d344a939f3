import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { openSqliteUsage } from '../../src/usage/sqlite.ts'
import { type ReserveRequest, type Usage, UsageError } from '../../src/usage/usage.ts'
import { readLockFor } from '../support/read-lock.ts'
import { tempFolder } from '../support/temp-folder.ts'
import type { Order } from '../support/usage-process.ts'
import { usageContract } from './contract.ts'

usageContract('sqlite', async () => {
  const folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const opened: Usage[] = []
  return {
    open: async () => {
      const usage = await openSqliteUsage({ path })
      opened.push(usage)
      return usage
    },
    close: async () => {
      for (const usage of opened) await usage.close()
      const left = await folder.names()
      await folder[Symbol.asyncDispose]()
      expect(left).toEqual(['usage.db'])
    },
  }
})

const NOON = Date.UTC(2027, 0, 1, 12)
const request = { key: 'round 0', bytes: 10, limit: 200, window: 3600, hold: 60, now: NOON }

/** Another process that has the same file open. */
async function neighbour(path: string): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, '../support/usage-process.ts'), [path], { execArgv: [] })
  await once(child, 'message')
  return child
}

async function granted(child: ChildProcess, order: Order): Promise<number[]> {
  const answer = once(child, 'message')
  child.send(order)
  const [counts] = await answer
  return counts
}

test('of 50 reservations by two processes no more pass than fit', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  // Both make the file at once.
  const children = await Promise.all([neighbour(path), neighbour(path)])
  const rounds = 40
  const order = { at: Date.now() + 200, rounds, calls: 25, bytes: 10, limit: 200, now: NOON }
  const [mine = [], theirs = []] = await Promise.all(children.map((child) => granted(child, order)))
  for (const child of children) child.kill()
  expect(mine.map((count, round) => count + (theirs[round] ?? 0))).toEqual(Array(rounds).fill(20))
})

test('what a killed process had reserved is free again after its hold', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const child = await neighbour(path)
  await granted(child, { at: 0, rounds: 1, calls: 20, bytes: 10, limit: 200, now: NOON })
  child.kill('SIGKILL')
  await once(child, 'exit')
  const usage = await openSqliteUsage({ path })
  expect(await usage.reserve(request)).toMatchObject({ granted: false, reserved: 200 })
  expect(await usage.reserve({ ...request, bytes: 200, now: NOON + 60_000 })).toMatchObject({ granted: true })
  await usage.close()
})

test('the file is for its owner only, and so are those beside it', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const usage = await openSqliteUsage({ path })
  await usage.reserve(request)
  expect(await folder.names()).toEqual(['usage.db', 'usage.db-shm', 'usage.db-wal'])
  for (const name of await folder.names())
    expect((await stat(join(folder.path, name))).mode & 0o777).toBe(0o600)
  await usage.close()
})

test('what is old is removed as it is met', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const usage = await openSqliteUsage({ path })
  for (let minute = 0; minute < 600; minute++) {
    const now = NOON + minute * 60_000
    const answer = await usage.reserve({ ...request, bytes: 1, now })
    if (answer.granted && minute % 2) await usage.settle(answer)
    await usage.count({ name: `client ${minute}`, window: 60_000, now })
  }
  await usage.close()
  const db = new DatabaseSync(path)
  const rows = (table: string) => Number(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n)
  const [slots, reservations, counters] = [rows('slots'), rows('reservations'), rows('counters')]
  db.close()
  // An hour of every other minute, and of counters this window and the one before.
  expect({ slots, reservations, counters }).toEqual({ slots: 31, reservations: 30, counters: 2 })
})

const OPEN = 10_000

/** Reserves for a key, spread over all of a hold, as one that asks for 8 links a second. */
async function reserveMany(usage: Usage, changes: Partial<ReserveRequest> = {}) {
  for (let i = 0; i < OPEN; i += 1) await usage.reserve({ ...wide, ...changes, now: NOON - (OPEN - i) * 120 })
}
const wide = { key: 'many', bytes: 1, limit: 1e9, window: 86_400, hold: 1200, now: NOON }

/**
 * Microseconds of CPU of 200 calls of each kind: the least of several rounds in turn, as others are
 * at work beside us.
 */
async function costs<Kind extends string>(
  kinds: Record<Kind, () => Promise<unknown>>,
): Promise<Record<Kind, number>> {
  const least = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, Number.POSITIVE_INFINITY]))
  for (let round = 0; round < 15; round += 1)
    for (const [kind, call] of Object.entries<() => Promise<unknown>>(kinds)) {
      const begun = process.cpuUsage()
      for (let i = 0; i < 200; i += 1) await call()
      const { user, system } = process.cpuUsage(begun)
      least[kind] = Math.min(least[kind] ?? 0, user + system)
    }
  return least as Record<Kind, number>
}

test('10 000 open reservations make no other dearer, nor one that is refused', {
  timeout: 60_000,
}, async () => {
  await using folder = await tempFolder()
  const usage = await openSqliteUsage({ path: join(folder.path, 'usage.db') })
  await reserveMany(usage)
  // A key that is refused has used its quota, here over all of the window.
  for (const key of ['full', 'full and many'])
    for (let slot = 0; slot < 288; slot += 1) {
      const answer = await usage.reserve({ ...wide, key, now: NOON - slot * 300_000 })
      if (answer.granted) await usage.settle(answer)
    }
  await reserveMany(usage, { key: 'full and many' })
  const takeAndGive = async (key: string) => {
    const answer = await usage.reserve({ ...wide, key })
    if (answer.granted) await usage.release(answer)
  }
  const cost = await costs({
    none: () => takeAndGive('none'),
    many: () => takeAndGive('many'),
    refused: () => usage.reserve({ ...wide, key: 'full', bytes: 100, limit: 200 }),
    refusedToMany: () => usage.reserve({ ...wide, key: 'full and many', bytes: 100, limit: 200 }),
    read: () => usage.read({ ...wide, key: 'full' }),
    readOfMany: () => usage.read({ ...wide, key: 'full and many' }),
  })
  await usage.close()
  expect(cost.many / cost.none).toBeLessThan(2)
  expect(cost.refusedToMany / cost.refused).toBeLessThan(2)
  expect(cost.readOfMany / cost.read).toBeLessThan(2)
})

test('of 10 000 reservations that nobody needs any more, a call forgets a few', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const usage = await openSqliteUsage({ path })
  await reserveMany(usage, { window: 1 })
  const db = new DatabaseSync(path)
  const left = () => Number(db.prepare('SELECT count(*) AS n FROM reservations').get()?.n)
  for (const called of [1, 2, 3]) {
    await usage.reserve({ ...wide, key: 'another', now: NOON + 86_400_000 })
    expect(left()).toBe(OPEN - called * 15)
  }
  const { used, reserved } = await usage.read({ ...wide, now: NOON + 86_400_000 })
  expect({ used, reserved }).toEqual({ used: 0, reserved: 0 })
  db.close()
  await usage.close()
})

test('of the counters of many clients, a call drops a few', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const usage = await openSqliteUsage({ path })
  for (let i = 0; i < 1000; i += 1) await usage.count({ name: `client ${i}`, window: 60_000, now: NOON })
  const db = new DatabaseSync(path)
  const left = () => Number(db.prepare('SELECT count(*) AS n FROM counters').get()?.n)
  expect(left()).toBe(1000)
  await usage.count({ name: 'another', window: 60_000, now: NOON + 3_600_000 })
  expect(left()).toBe(1000 - 16 + 1)
  for (let i = 0; i < 100; i += 1)
    await usage.count({ name: 'another', window: 60_000, now: NOON + 3_600_000 })
  expect(left()).toBe(1)
  db.close()
  await usage.close()
})

/**
 * A file as version 1 made it: one upload that is counted, and three that are not, two of one
 * minute.
 */
function makeVersion1(path: string) {
  const db = new DatabaseSync(path)
  db.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE slots (key TEXT, ends INTEGER, bytes INTEGER NOT NULL, PRIMARY KEY (key, ends)) STRICT, WITHOUT ROWID;
    CREATE TABLE reservations (
      id TEXT PRIMARY KEY, key TEXT NOT NULL, bytes INTEGER NOT NULL, ends INTEGER NOT NULL, expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX reservations_by_key ON reservations (key, expires);
    CREATE TABLE counters (name TEXT, ends INTEGER, count INTEGER NOT NULL, PRIMARY KEY (name, ends)) STRICT, WITHOUT ROWID;
    CREATE INDEX counters_by_end ON counters (ends);
    PRAGMA user_version = 1;
    INSERT INTO slots VALUES ('anna', ${NOON}, 5);
    INSERT INTO counters VALUES ('anna', ${NOON + 60_000}, 7);
    INSERT INTO reservations VALUES
      ('first', 'anna', 10, ${NOON}, ${NOON + 61_000}),
      ('second', 'anna', 20, ${NOON + 12_500}, ${NOON + 62_000}),
      ('third', 'anna', 40, ${NOON}, ${NOON + 180_000}),
      ('another', 'ben', 80, ${NOON}, ${NOON + 61_000});
  `)
  db.close()
}

test('a file of version 1 is taken over with all that is in it', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  makeVersion1(path)
  // Two processes of the new version at once.
  const [usage, other] = await Promise.all([openSqliteUsage({ path }), openSqliteUsage({ path })])
  const of = async (key: string, now = NOON) => {
    const { used, reserved } = await usage.read({ key, window: 3600, now })
    return { used, reserved }
  }
  expect(await of('anna')).toEqual({ used: 5, reserved: 70 })
  expect(await of('ben')).toEqual({ used: 0, reserved: 80 })
  expect(await of('anna', NOON + 119_000)).toEqual({ used: 5, reserved: 70 })
  expect(await of('anna', NOON + 120_000)).toEqual({ used: 5, reserved: 40 })
  expect(await usage.count({ name: 'anna', window: 60_000, now: NOON })).toMatchObject({ count: 8 })
  const old = { granted: true, key: 'anna', bytes: 0 } as const
  await usage.settle({ ...old, id: 'first' })
  await other.release({ ...old, id: 'second' })
  expect(await of('anna')).toEqual({ used: 15, reserved: 40 })
  const full = { ...request, key: 'anna', limit: 55, bytes: 1 }
  expect(await usage.reserve(full)).toMatchObject({ granted: false, used: 15, reserved: 40 })
  await Promise.all([usage.close(), other.close()])
})

async function failureOf(path: string): Promise<Error> {
  return openSqliteUsage({ path }).then(
    () => new Error('it opened'),
    (error) => error,
  )
}

test('a file that cannot be made is refused, and named', async () => {
  await using folder = await tempFolder()
  for (const path of [join(folder.path, 'nowhere', 'usage.db'), folder.path]) {
    const error = await failureOf(path)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(path)
    expect(error.cause).toBeInstanceOf(Error)
  }
})

test('a file that is something else, or damaged, is refused, and named', async () => {
  await using folder = await tempFolder()
  const other = join(folder.path, 'other')
  await writeFile(other, 'this is not a database, and was never meant to be one'.repeat(100))
  const damaged = join(folder.path, 'damaged')
  const usage = await openSqliteUsage({ path: damaged })
  for (let i = 0; i < 500; i++) await usage.count({ name: `client ${i}`, window: 60_000, now: NOON })
  await usage.close()
  await using file = await open(damaged, 'r+')
  await file.write(Buffer.alloc(8192, 0xaa), 0, 8192, 8192)
  for (const path of [other, damaged]) {
    const error = await failureOf(path)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(path)
  }
})

test('a file that a newer version made is refused, and left as it is', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const db = new DatabaseSync(path)
  db.exec('PRAGMA user_version = 99')
  db.close()
  expect((await failureOf(path)).message).toContain('newer version (99)')
})

test('a file that another process will not let go of is a UsageError, and usable afterwards', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  const usage = await openSqliteUsage({ path })
  const holder = new DatabaseSync(path)
  holder.exec('BEGIN IMMEDIATE')
  await expect(usage.reserve(request)).rejects.toThrow(UsageError)
  holder.close()
  expect(await usage.reserve(request)).toMatchObject({ granted: true })
  await usage.close()
})

test('a file that another process has locked for a moment is opened all the same', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'usage.db')
  using _lock = readLockFor(200, path)
  await (await openSqliteUsage({ path })).close()
})
