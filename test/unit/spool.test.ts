import { spawnSync } from 'node:child_process'
import { readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { spaceVerdict } from '../../src/doctor/stores.ts'
import { verdictOf } from '../../src/doctor/verdict.ts'
import { openSpool } from '../../src/spool.ts'
import { StorageFull, StoreError } from '../../src/store/store.ts'
import { descriptorsOf } from '../support/process-facts.ts'
import { tempFolder, tempSpool } from '../support/temp-folder.ts'

const MAX_AGE = 3600

/** The part of a temp file's name that says on which machine it was made. */
async function thisMachine(): Promise<string> {
  await using folder = await tempSpool()
  await using temp = { ...(await folder.spool.create()), [Symbol.asyncDispose]: async () => {} }
  await temp.remove()
  return basename(temp.path).split('-')[0] ?? ''
}

const machine = await thisMachine()
const nameOf = (pid: number | undefined, on = machine) => `${on}-${pid}-${'a'.repeat(32)}.part`

/** A process id that was in use a moment ago and is not any more. */
const deadPid = spawnSync(process.execPath, ['--version']).pid

async function folderWith(name: string, { age }: { age: number }) {
  const folder = await tempSpool()
  const path = join(folder.path, name)
  await writeFile(path, 'half an ima')
  const touched = new Date(Date.now() - age * 1000)
  await utimes(path, touched, touched)
  return folder
}

describe('a sweep', () => {
  test.each([
    { title: 'what a dead process of this machine left, at once', name: nameOf(deadPid), age: 0 },
    {
      title: 'what an earlier process with our own id left a minute ago: containers reuse ids',
      name: nameOf(process.pid),
      age: 61,
    },
    {
      title: 'what a live process has not touched for too long',
      name: nameOf(process.ppid),
      age: MAX_AGE + 60,
    },
    {
      title: 'what another machine has not touched for too long',
      name: nameOf(1, '00000000'),
      age: MAX_AGE + 60,
    },
  ])('removes $title', async ({ name, age }) => {
    await using folder = await folderWith(name, { age })
    expect(await folder.spool.sweep(Date.now())).toBe(1)
    expect(await folder.names()).toEqual([])
  })

  test.each([
    { title: 'what a process beside us with our own id may be writing', name: nameOf(process.pid), age: 10 },
    { title: 'what a live process of this machine writes', name: nameOf(process.ppid), age: MAX_AGE - 60 },
    { title: 'what another machine writes', name: nameOf(deadPid, '00000000'), age: MAX_AGE - 60 },
    { title: 'an operator’s own file', name: 'notes.txt', age: 10 * MAX_AGE },
    { title: 'a .part file of another program', name: 'download.part', age: 10 * MAX_AGE },
    { title: 'a name with something before ours', name: `x${nameOf(deadPid)}`, age: 10 * MAX_AGE },
    { title: 'a name with something after ours', name: `${nameOf(deadPid)}~`, age: 10 * MAX_AGE },
  ])('leaves $title', async ({ name, age }) => {
    await using folder = await folderWith(name, { age })
    expect(await folder.spool.sweep(Date.now())).toBe(0)
    expect(await folder.names()).toEqual([name])
  })

  test('leaves what this very process is writing', async () => {
    await using folder = await tempSpool()
    const temp = await folder.spool.create()
    expect(await folder.spool.sweep(Date.now())).toBe(0)
    expect(await folder.names()).toEqual([basename(temp.path)])
    await temp.remove()
  })

  test('may run twice at once', async () => {
    await using folder = await folderWith(nameOf(deadPid), { age: 0 })
    const removed = await Promise.all([folder.spool.sweep(Date.now()), folder.spool.sweep(Date.now())])
    expect(removed[0] + removed[1]).toBe(1)
  })
})

describe('a temp file', () => {
  test('holds what was written, in order, and is nobody else’s to read', async () => {
    await using folder = await tempSpool()
    const temp = await folder.spool.create()
    for (const piece of ['one ', 'and ', '', 'two']) await temp.write(Buffer.from(piece))
    expect(await temp.sync()).toBe(11)
    expect(await readFile(temp.path, 'utf8')).toBe('one and two')
    expect((await stat(temp.path)).mode & 0o007).toBe(0)
  })

  test('can be removed twice, and while it is written; then no descriptor is left', async () => {
    await using folder = await tempSpool()
    const before = await descriptorsOf(process.pid)
    const temps = await Promise.all(Array.from({ length: 8 }, () => folder.spool.create()))
    const writes = temps.map((temp) => temp.write(Buffer.alloc(4 * 1024 ** 2)))
    await Promise.all([...temps, ...temps].map((temp) => temp.remove()))
    await Promise.all(writes)
    expect(await folder.names()).toEqual([])
    expect(await descriptorsOf(process.pid)).toBe(before)
  })

  test('that was removed takes nothing more', async () => {
    await using folder = await tempSpool()
    const temp = await folder.spool.create()
    await temp.remove()
    await expect(temp.write(Buffer.from('late'))).rejects.toBeInstanceOf(StoreError)
    await expect(temp.sync()).rejects.toBeInstanceOf(StoreError)
  })

  test('in a folder that is gone is a store’s failure', async () => {
    await using folder = await tempSpool()
    await folder[Symbol.asyncDispose]()
    await expect(folder.spool.create()).rejects.toBeInstanceOf(StoreError)
  })
})

test('closing removes what this process has not finished, and nothing of others', async () => {
  const other = nameOf(process.ppid)
  await using folder = await folderWith(other, { age: 0 })
  for (let made = 0; made < 3; made += 1) await (await folder.spool.create()).write(Buffer.from('half'))
  await folder.spool.close()
  expect(await folder.names()).toEqual([other])
  await folder.spool.close()
})

describe('free space', () => {
  test('below the floor refuses new temp files and makes none', async () => {
    await using folder = await tempFolder()
    const spool = await openSpool({ dir: folder.path, minFree: Number.MAX_SAFE_INTEGER, maxAge: MAX_AGE })
    await expect(spool.create()).rejects.toBeInstanceOf(StorageFull)
    expect(await spool.headroom()).toBeLessThan(0)
    expect(await folder.names()).toEqual([])
  })

  test('above the floor is what may still be used', async () => {
    await using folder = await tempFolder()
    const spool = await openSpool({ dir: folder.path, minFree: 1, maxAge: MAX_AGE })
    expect(await spool.headroom()).toBeGreaterThan(0)
    await (await spool.create()).remove()
  })

  const GB = 2 ** 30
  /** A spool on a file system with 100 GB and so many inodes of which so many are free. */
  async function onDisk(
    inodes: { files: number; ffree: number },
    { dir, minFree = 1 }: { dir: string; minFree?: number },
  ) {
    const statfs = async () => ({ bsize: 4096, bavail: (100 * GB) / 4096, ...inodes })
    return openSpool({ dir, minFree, maxAge: MAX_AGE, statfs })
  }

  test.each([
    { of: 'a large file system', files: 6_000_000, floor: 1000 },
    { of: 'a small one', files: 2000, floor: 20 },
  ])('with too few inodes of $of refuses all that makes a file, and says why', async ({ files, floor }) => {
    await using folder = await tempFolder()
    const spool = await onDisk({ files, ffree: floor - 1 }, { dir: folder.path })
    for (const attempt of [() => spool.headroom(), () => spool.create()]) {
      const error = await attempt().catch((reason) => reason)
      expect(error).toBeInstanceOf(StorageFull)
      expect(error.message).toContain(`only ${floor - 1} of ${files} inodes are free`)
    }
    expect(await folder.names()).toEqual([])
    const { mark, text } = await verdictOf(1000, () => spaceVerdict(spool))
    expect(`${mark} ${text}`).toMatch(/^✗ only .* inodes .* uploads are refused/)
    expect(await (await onDisk({ files, ffree: floor }, { dir: folder.path })).headroom()).toBe(100 * GB - 1)
  })

  test('does not run out of inodes where there is no limit, or no floor', async () => {
    await using folder = await tempFolder()
    const unlimited = await onDisk({ files: 0, ffree: 0 }, { dir: folder.path })
    const unlooked = await onDisk({ files: 6_000_000, ffree: 0 }, { dir: folder.path, minFree: 0 })
    expect(await unlimited.headroom()).toBe(100 * GB - 1)
    await (await unlooked.create()).remove()
    expect(await unlooked.headroom()).toBe(100 * GB)
  })

  test('is asked for again at once while there are not many inodes, though there are bytes', async () => {
    await using folder = await tempFolder()
    const inodes = { files: 6_000_000, ffree: 2000 }
    const statfs = async () => ({ bsize: 4096, bavail: (100 * GB) / 4096, ...inodes })
    const spool = await openSpool({ dir: folder.path, minFree: 1, maxAge: MAX_AGE, statfs })
    expect(await spool.headroom()).toBeGreaterThan(0)
    inodes.ffree = 10
    await expect(spool.headroom()).rejects.toBeInstanceOf(StorageFull)
  })
})

test('the spool makes its folder, for its own user alone', async () => {
  await using folder = await tempFolder()
  const dir = join(folder.path, 'data/tmp')
  await openSpool({ dir, minFree: 0, maxAge: MAX_AGE })
  expect((await stat(dir)).mode & 0o777).toBe(0o700)
})
