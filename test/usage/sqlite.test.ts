import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { openSqliteUsage } from '../../src/usage/sqlite.ts'
import { type Usage, UsageError } from '../../src/usage/usage.ts'
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
