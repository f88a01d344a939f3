import { createHook } from 'node:async_hooks'
import { mkdirSync, readdirSync, readlinkSync, rmdirSync } from 'node:fs'
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { folderSync } from '../../src/store/folder-sync.ts'

let dir: string
beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'layover-')))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

/** Runs something and counts the file operations it starts. */
async function operationsOf(act: () => Promise<unknown>): Promise<number> {
  let count = 0
  const hook = createHook({
    init(_id, type) {
      if (type === 'FSREQPROMISE') count += 1
    },
  }).enable()
  try {
    await act()
  } finally {
    hook.disable()
  }
  return count
}

/** Whether this process has the folder open. */
function isOpen(folder: string): boolean {
  return readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === folder
    } catch {
      return false // Closed since it was listed.
    }
  })
}

/**
 * Waits until a sync that was asked for has opened the folder, without giving it the chance to go on: the descriptor is
 * opened by a thread, but nothing that waits for it runs before this returns.
 */
function holdAtOpen(folder: string): void {
  const deadline = Date.now() + 10_000
  while (!isOpen(folder)) if (Date.now() > deadline) throw new Error('the sync did not begin')
}

const canSeeDescriptors = process.platform === 'linux'

test('all who ask while a sync runs share one more', async () => {
  const sync = folderSync()
  const one = await operationsOf(() => sync(dir))
  expect(one).toBeGreaterThan(0)
  const hundred = await operationsOf(() => Promise.all(Array.from({ length: 100 }, () => sync(dir))))
  expect(hundred).toBe(2 * one)
})

test('who asks when none runs has a sync of its own', async () => {
  const sync = folderSync()
  const one = await operationsOf(() => sync(dir))
  const three = await operationsOf(async () => {
    for (let turn = 0; turn < 3; turn += 1) await sync(dir)
  })
  expect(three).toBe(3 * one)
})

test('folders do not wait for each other', async () => {
  const sync = folderSync()
  const folders = ['a', 'b', 'c'].map((name) => join(dir, name))
  for (const folder of folders) await mkdir(folder)
  const one = await operationsOf(() => sync(dir))
  const three = await operationsOf(() => Promise.all(folders.map(sync)))
  expect(three).toBe(3 * one)
})

// Only a sync that begins after the folder has gone can find that out.
test.skipIf(!canSeeDescriptors)(
  'a change made while a sync runs is in the sync of who asks next',
  async () => {
    const sync = folderSync()
    const folder = join(dir, 'shard')
    for (let round = 0; round < 20; round += 1) {
      mkdirSync(folder)
      // An earlier wave, which went well, has no part in what follows.
      await Promise.all([sync(folder), sync(folder), sync(folder)])
      const running = sync(folder)
      holdAtOpen(folder)
      rmdirSync(folder)
      const later = Array.from({ length: 10 }, () => sync(folder))
      const outcomes = await Promise.allSettled([running, ...later])
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', ...later.map(() => 'rejected')])
    }
  },
)

test('a sync that fails does not fail who asks after it, nor keep anyone waiting', async () => {
  const sync = folderSync()
  const folder = join(dir, 'shard')
  const early = sync(folder)
  await expect(early).rejects.toThrow(/ENOENT/)
  const failing = [sync(folder), sync(folder), sync(folder)]
  const outcomes = await Promise.allSettled(failing)
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  mkdirSync(folder)
  await expect(Promise.all([sync(folder), sync(folder), sync(folder)])).resolves.toHaveLength(3)
})

test('who asks after the folder was made is not told of a sync that failed before', async () => {
  const sync = folderSync()
  const folder = join(dir, 'shard')
  const early = Promise.allSettled([sync(folder)])
  // Time for its thread to find no folder, while nothing else here runs. Were it too short, the test would still pass.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
  mkdirSync(folder)
  await expect(Promise.all([sync(folder), sync(folder)])).resolves.toHaveLength(2)
  expect(await early).toHaveLength(1)
})

test.skipIf(!canSeeDescriptors)(
  'waves of callers leave no descriptor open, failures among them',
  async () => {
    const sync = folderSync()
    const missing = join(dir, 'missing')
    for (let wave = 0; wave < 20; wave += 1) {
      await Promise.allSettled(Array.from({ length: 20 }, (_, turn) => sync(turn % 2 ? dir : missing)))
    }
    expect(isOpen(dir)).toBe(false)
  },
)
