import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import type { ReceiptStore } from '../../src/receipts/receipts.ts'
import { openSqliteReceipts } from '../../src/receipts/sqlite.ts'
import { readLockFor } from '../support/read-lock.ts'
import { newName, receiptOf } from '../support/receipts.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { receiptsContract } from './contract.ts'

receiptsContract('sqlite', async () => {
  const folder = await tempFolder()
  const path = join(folder.path, 'receipts.db')
  const opened: ReceiptStore[] = []
  return {
    open: async () => {
      const store = await openSqliteReceipts({ path })
      opened.push(store)
      return store
    },
    dump: async () =>
      (await Promise.all([readFile(path, 'latin1'), readFile(`${path}-wal`, 'latin1')])).join(''),
    ends: async () => endsIn(path),
    close: async () => {
      for (const store of opened) await store.close()
      const left = await folder.names()
      await folder[Symbol.asyncDispose]()
      expect(left).toEqual(['receipts.db'])
    },
  }
})

function endsIn(path: string): number[] {
  const db = new DatabaseSync(path)
  const rows = db.prepare('SELECT ends FROM images ORDER BY ends').all()
  db.close()
  return rows.map(({ ends }) => Number(ends))
}

test('the file is for its owner only, and so are those beside it', async () => {
  await using folder = await tempFolder()
  const store = await openSqliteReceipts({ path: join(folder.path, 'receipts.db') })
  await store.add([{ name: newName(), count: 1, latest: [receiptOf()] }])
  expect(await folder.names()).toEqual(['receipts.db', 'receipts.db-shm', 'receipts.db-wal'])
  for (const name of await folder.names())
    expect((await stat(join(folder.path, name))).mode & 0o777).toBe(0o600)
  await store.close()
})

test('any number of images that are over is removed', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'receipts.db')
  const store = await openSqliteReceipts({ path })
  const names = Array.from({ length: 1000 }, () => newName(60))
  const living = newName()
  await store.add([...names, living].map((name) => ({ name, count: 1, latest: [receiptOf()] })))
  await store.purge(Date.now() + 61_000)
  expect(endsIn(path)).toEqual([living.expires * 1000])
  await store.close()
})

test('however often an image is fetched, its file stays small', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'receipts.db')
  const store = await openSqliteReceipts({ path })
  const name = newName()
  const latest = Array.from({ length: 100 }, () => receiptOf())
  for (let i = 0; i < 1000; i += 1) await store.add([{ name, count: 100, latest }])
  expect((await store.read(name)).total).toBe(100_000)
  await store.close()
  expect((await stat(path)).size).toBeLessThan(64 * 1024)
})

test('a file that is something else, or that a newer version made, is refused and left as it is', async () => {
  await using folder = await tempFolder()
  const other = join(folder.path, 'other')
  const text = 'this is not a database, and was never meant to be one'.repeat(100)
  await writeFile(other, text)
  await expect(openSqliteReceipts({ path: other })).rejects.toThrow('not a database')
  expect(await readFile(other, 'utf8')).toBe(text)
  const newer = join(folder.path, 'newer')
  const db = new DatabaseSync(newer)
  db.exec('PRAGMA user_version = 99')
  db.close()
  await expect(openSqliteReceipts({ path: newer })).rejects.toThrow('newer version (99)')
})

test('a file that another process has locked for a moment is opened all the same', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'receipts.db')
  using _lock = readLockFor(200, path)
  await (await openSqliteReceipts({ path })).close()
})
