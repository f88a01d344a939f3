import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DiskThreads, diskThreads, ThreadGone } from '../../src/store/disk-threads.ts'
import { bytesOf } from '../support/staged.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'

let folder: TempFolder
let threads: DiskThreads
beforeEach(async () => {
  folder = await tempFolder()
  threads = diskThreads()
})
afterEach(async () => {
  await threads.close()
  await folder[Symbol.asyncDispose]()
})

const place = (temp: string, target: string, bytes: Uint8Array = bytesOf(50_000)) =>
  threads.place({ temp: join(folder.path, temp), target: join(folder.path, target), bytes })

test('a file gets its name, whole, and loses the first one', async () => {
  expect(await place('a.part', 'a')).toBe(true)
  expect(await folder.names()).toEqual(['a'])
  expect(await readFile(join(folder.path, 'a'))).toEqual(bytesOf(50_000))
  expect((await stat(join(folder.path, 'a'))).mode & 0o777).toBe(0o640)
})

test('bytes in shared memory are written as they are when they are passed', async () => {
  const bytes = Buffer.from(new SharedArrayBuffer(1000)).fill(7)
  expect(await place('a.part', 'a', bytes.subarray(10, 20))).toBe(true)
  expect(await readFile(join(folder.path, 'a'))).toEqual(Buffer.alloc(10, 7))
})

test('many at once all get theirs', async () => {
  const names = Array.from({ length: 200 }, (_, index) => `n${index}`)
  const placed = await Promise.all(names.map((name) => place(`${name}.part`, name, Buffer.from(name))))
  expect(placed).toEqual(names.map(() => true))
  expect((await folder.names()).sort()).toEqual([...names].sort())
  for (const name of names) expect(await readFile(join(folder.path, name), 'utf8')).toBe(name)
})

test('a name that is taken stays as it is, and one in no folder is not given: the file is kept', async () => {
  await writeFile(join(folder.path, 'taken'), 'first')
  expect(await place('a.part', 'taken')).toBe(false)
  expect(await place('b.part', 'nowhere/b')).toBe(false)
  expect(await readFile(join(folder.path, 'taken'), 'utf8')).toBe('first')
  expect((await folder.names()).sort()).toEqual(['a.part', 'b.part', 'taken'])
})

test('what fails says so with its code, and leaves nothing', async () => {
  await expect(place('nowhere/a.part', 'a')).rejects.toMatchObject({ code: 'ENOENT', syscall: 'open' })
  await mkdir(join(folder.path, 'there.part'))
  await expect(place('there.part', 'a')).rejects.toMatchObject({ code: 'EEXIST' })
  expect(await folder.names()).toEqual(['there.part'])
  expect(await place('a.part', 'a')).toBe(true)
})

test('closing lets them end what they were asked, and none is asked afterwards', async () => {
  expect(threads.areUsable()).toBe(true)
  const [job] = await Promise.all([place('a.part', 'a', Buffer.alloc(10_000_000)), threads.close()])
  expect(job).toBe(true)
  expect(threads.areUsable()).toBe(false)
})

test.each([
  ['that ends', 'setTimeout(() => process.exit(), 50)'],
  ['that cannot be loaded', 'throw new Error()'],
])('a thread %s fails what it had to do, and none is asked for a while', async (_title, code) => {
  const script = join(folder.path, 'script.mjs')
  await writeFile(script, code)
  await using broken = { ...diskThreads(pathToFileURL(script)), [Symbol.asyncDispose]: () => broken.close() }
  const file = { temp: join(folder.path, 'a.part'), target: join(folder.path, 'a'), bytes: bytesOf(10) }
  await expect(broken.place(file)).rejects.toBeInstanceOf(ThreadGone)
  expect(broken.areUsable()).toBe(false)
})

test('where the system gives no thread, that is told as if one had gone', async () => {
  // No file, so it is refused at once, as too many threads are.
  const none = diskThreads('nowhere' as never)
  await expect(none.syncFolder(folder.path)).rejects.toBeInstanceOf(ThreadGone)
  expect(none.areUsable()).toBe(false)
})
