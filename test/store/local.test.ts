import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openSpool, type Spool } from '../../src/spool.ts'
import { openLocalStore } from '../../src/store/local.ts'
import { ObjectNotFound, StorageFull, type Store, StoreError } from '../../src/store/store.ts'
import { aKey, asStream, bytesOf, failingAfter, inFile, inMemory } from '../support/staged.ts'
import { storeContract } from './contract.ts'

const run = promisify(execFile)

/** Mounting needs root; without it the cases that need a file system of their own are skipped. */
const probe = await mkdtemp(join(tmpdir(), 'layover-mount-'))
const canMount = await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', probe])
  .then(() => run('umount', [probe]))
  .then(
    () => true,
    () => false,
  )
await rm(probe, { recursive: true })

async function openAt(dir: string, minFree = 0): Promise<{ store: Store; spool: Spool }> {
  const spool = await openSpool({ dir: join(dir, 'tmp'), minFree, maxAge: 3600 })
  return { store: await openLocalStore({ root: join(dir, 'images'), spool }), spool }
}

async function everything(dir: string): Promise<string[]> {
  return (await readdir(dir, { recursive: true }))
    .filter((path) => path !== 'tmp' && path !== 'images')
    .sort()
}

let dir: string
let store: Store
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'layover-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

storeContract('local disk', async () => {
  const { store } = await openAt(dir)
  return {
    store,
    reopen: async () => (await openAt(dir)).store,
    // Folders of objects are the objects' own; what is left of them afterwards is not.
    leftovers: async () => {
      const shards = new Set<string>()
      for await (const { key } of store.list())
        for (const width of [5, 12]) shards.add(`images/${key.slice(0, width)}`)
      return (await everything(dir)).filter((path) => ![...shards].some((shard) => path.startsWith(shard)))
    },
    close: () => store.close(),
  }
})

describe('on disk', () => {
  beforeEach(async () => {
    store = (await openAt(dir)).store
  })

  test('images stand in folders by when they expire, and the never-expiring by when they were made', async () => {
    const key = aKey()
    const forever = aKey({ expires: Number.POSITIVE_INFINITY })
    await store.put(key, inMemory(bytesOf(1)))
    await store.put(forever, inMemory(bytesOf(1)))
    expect(await everything(dir)).toEqual([
      `images/${key.slice(0, 5)}`,
      `images/${key.slice(0, 5)}/${key}`,
      `images/${forever.slice(0, 12)}`,
      `images/${forever.slice(0, 12)}/${forever}`,
    ])
  })

  test('a folder goes with its last image', async () => {
    const [first, second] = [aKey(), aKey()]
    await store.put(first, inMemory(bytesOf(1)))
    await store.put(second, inMemory(bytesOf(1)))
    await store.delete(first)
    expect(await readdir(join(dir, 'images'))).toHaveLength(1)
    await store.delete(second)
    expect(await readdir(join(dir, 'images'))).toEqual([])
  })

  test('what others put there is neither listed nor touched', async () => {
    const key = aKey()
    await store.put(key, inMemory(bytesOf(1)))
    const shard = join(dir, 'images', key.slice(0, 5))
    const foreign = [
      join(dir, 'images', 'notes'),
      join(dir, 'images', 'notes.txt'),
      join(shard, 'README.md'),
      join(shard, `${key}.bak`),
      join(dir, 'images', aKey()),
    ]
    for (const path of foreign) await writeFile(path, 'mine')
    await mkdir(join(dir, 'images', 'photos'))
    await writeFile(join(dir, 'images', 'photos', key), 'mine')
    expect(await Array.fromAsync(store.list())).toEqual([{ key, size: 1 }])
    await store.delete(key)
    for (const path of [...foreign, join(dir, 'images', 'photos', key)])
      expect(await readFile(path, 'utf8')).toBe('mine')
  })

  test('a symbolic link named like an image is none', async () => {
    const real = aKey()
    const link = aKey()
    await store.put(real, inMemory(bytesOf(1)))
    await symlink(join(dir, 'secret'), join(dir, 'images', real.slice(0, 5), link))
    await writeFile(join(dir, 'secret'), 'secret')
    await expect(store.open(link)).rejects.toThrow(ObjectNotFound)
    await expect(store.stat(link)).rejects.toThrow(ObjectNotFound)
    expect(await Array.fromAsync(store.list())).toEqual([{ key: real, size: 1 }])
  })

  test('a key that could lead elsewhere is refused', async () => {
    await writeFile(join(dir, 'secret'), 'secret')
    for (const key of ['../../secret', '..', '', 'a/b.png', `${aKey()}\0`, 'ABCDEFGHIJKLMNOP.png']) {
      await expect(store.open(key)).rejects.toThrow()
      await expect(store.put(key, inMemory(bytesOf(1)))).rejects.toThrow()
    }
    expect(await everything(dir)).toEqual(['secret'])
  })

  test('a staged file is neither moved nor changed', async () => {
    const path = join(dir, 'tmp', 'staged')
    await writeFile(path, bytesOf(1000))
    await store.put(aKey(), inFile(path, 1000))
    expect(await readFile(path)).toEqual(bytesOf(1000))
  })

  test('a root that vanishes is trouble, not an empty store', async () => {
    await rm(join(dir, 'images'), { recursive: true })
    await expect(Array.fromAsync(store.list())).rejects.toThrow(StoreError)
    await expect(store.check()).rejects.toThrow(StoreError)
    for (const attempt of [store.stat(aKey()), store.open(aKey()), store.put(aKey(), inMemory(bytesOf(1)))]) {
      const error = await attempt.then(
        () => undefined,
        (reason) => reason,
      )
      expect(error).toBeInstanceOf(StoreError)
      expect(error).not.toBeInstanceOf(ObjectNotFound)
    }
    expect(await readdir(dir)).toEqual(['tmp'])
  })

  test('a folder or a pipe named like an image is none', async () => {
    const real = aKey()
    await store.put(real, inMemory(bytesOf(1)))
    const shard = join(dir, 'images', real.slice(0, 5))
    const [folder, pipe] = [aKey(), aKey()]
    await mkdir(join(shard, folder))
    await run('mkfifo', [join(shard, pipe)])
    for (const key of [folder, pipe]) {
      await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
      await expect(store.stat(key)).rejects.toThrow(ObjectNotFound)
    }
    expect(await Array.fromAsync(store.list())).toEqual([{ key: real, size: 1 }])
  })

  test('many may start on it at once', async () => {
    await Promise.all(Array.from({ length: 20 }, () => openAt(dir)))
    expect(await everything(dir)).toEqual([])
  })

  test('a download under way when its image is deleted goes on to its end', async () => {
    const key = aKey()
    const bytes = bytesOf(3_000_000)
    await store.put(key, inMemory(bytes))
    const { body } = await store.open(key)
    await store.delete(key)
    expect((await buffer(body)).equals(bytes)).toBe(true)
  })

  test('puts and the deletes that take their folder away race, and nothing is lost', async () => {
    const other = (await openAt(dir)).store
    const rounds = 200
    for (let round = 0; round < rounds; round += 1) {
      const [leaving, coming] = [aKey(), aKey()]
      await store.put(leaving, inMemory(bytesOf(1)))
      await Promise.all([other.delete(leaving), store.put(coming, inMemory(bytesOf(2)))])
      expect(await store.stat(coming)).toEqual({ size: 2 })
      await store.delete(coming)
    }
    expect(await everything(dir)).toEqual([])
  })

  test('no descriptor stays open after hundreds of operations, failures among them', async () => {
    const descriptors = async () => (await readdir('/proc/self/fd')).length
    // The first starts a thread, which has some of its own.
    await store.put(aKey(), inMemory(bytesOf(1)))
    const before = await descriptors()
    for (let round = 0; round < 100; round += 1) {
      const key = aKey()
      await store.put(key, asStream(bytesOf(70_000)))
      await store.put(key, inMemory(bytesOf(1))).catch(() => {})
      await store.put(aKey(), failingAfter(bytesOf(100_000), 70_000, new Error())).catch(() => {})
      const { body } = await store.open(key)
      const closed = new Promise((resolve) => body.once('close', resolve))
      if (round % 2) await buffer(body)
      else body.destroy()
      await closed
      await store.open(aKey()).catch(() => {})
      await store.delete(key)
    }
    expect(await descriptors()).toBe(before)
  })
})

describe('a start', () => {
  test.each([
    { what: 'is a file', make: () => writeFile(join(dir, 'images'), '') },
    {
      what: 'is a symbolic link to nowhere',
      make: () => symlink(join(dir, 'nowhere', 'x'), join(dir, 'images')),
    },
  ])('with a root that $what is refused', async ({ make }) => {
    await make()
    await expect(openAt(dir)).rejects.toThrow(/images must be a folder/)
  })

  test.skipIf(!canMount)('with a root that may not be written is refused, and named', async () => {
    await mkdir(join(dir, 'images'))
    await run('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', join(dir, 'images')])
    try {
      await expect(openAt(dir)).rejects.toThrow(/images/)
    } finally {
      await run('umount', [join(dir, 'images')])
    }
  })

  test.skipIf(!canMount)('with temp files on another file system is refused, and says so', async () => {
    await mkdir(join(dir, 'tmp'))
    await run('mount', ['-t', 'tmpfs', 'tmpfs', join(dir, 'tmp')])
    try {
      await expect(openAt(dir)).rejects.toThrow(/must be on one file system/)
    } finally {
      await run('umount', [join(dir, 'tmp')])
    }
  })

  test('leaves nothing of its own behind', async () => {
    await openAt(dir)
    expect(await everything(dir)).toEqual([])
  })
})

describe('a disk that is full', () => {
  test.skipIf(!canMount)(
    'is StorageFull, leaves nothing, and is no obstacle once there is space',
    async () => {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', dir])
      try {
        const full = (await openAt(dir)).store
        const filler = aKey()
        await full.put(filler, inMemory(bytesOf(1_500_000)))
        await expect(full.put(aKey(), inMemory(bytesOf(1_000_000)))).rejects.toThrow(StorageFull)
        await expect(full.put(aKey(), asStream(bytesOf(1_000_000)))).rejects.toThrow(StorageFull)
        expect(await Array.fromAsync(full.list())).toEqual([{ key: filler, size: 1_500_000 }])
        expect(await readdir(join(dir, 'tmp'))).toEqual([])
        await full.delete(filler)
        await full.put(filler, inMemory(bytesOf(1_000_000)))
        expect(await full.stat(filler)).toEqual({ size: 1_000_000 })
      } finally {
        await run('umount', [dir])
      }
    },
  )

  test('is not waited for: below the floor of free space nothing is taken', async () => {
    const { store: low } = await openAt(dir, Number.MAX_SAFE_INTEGER)
    await expect(low.put(aKey(), inMemory(bytesOf(1)))).rejects.toThrow(StorageFull)
    await expect(low.check()).resolves.toBeUndefined()
    expect(await everything(dir)).toEqual([])
  })
})

const hasStrace = await run('strace', ['-V']).then(
  () => true,
  () => false,
)

describe('durability', () => {
  const source = join(import.meta.dirname, '../../src')

  /** Runs a few lines against a store in a process of their own, under strace, and answers what strace saw. */
  async function trace(lines: string, ...options: string[]): Promise<{ calls: string[]; output: string }> {
    const script = join(dir, 'script.ts')
    await writeFile(
      script,
      `import { writeSync } from 'node:fs'
       import { openKeyring } from '${source}/keys.ts'
       import { openSpool } from '${source}/spool.ts'
       import { openLocalStore } from '${source}/store/local.ts'
       const spool = await openSpool({ dir: '${dir}/tmp', minFree: 0, maxAge: 1 })
       const store = await openLocalStore({ root: '${dir}/images', spool })
       const put = (key: string) => store.put(key, { size: 1000, bytes: Buffer.alloc(1000), open() { throw new Error() } })
       ${lines}`,
    )
    const { stderr, stdout } = await run('strace', [
      '-f',
      '-y',
      '-e',
      'signal=none',
      ...options,
      process.execPath,
      script,
    ])
    return { calls: stderr.split('\n'), output: stdout }
  }

  test.skipIf(!hasStrace)('bytes are on disk before the name, and the name before put resolves', async () => {
    const { calls } = await trace(
      `await put('${aKey()}'); writeSync(1, 'resolved')`,
      ...['-e', 'trace=write,pwrite64,fdatasync,fsync,link,linkat,mkdir,mkdirat'],
    )
    const order = [
      /p?write(64)?\(\d+<[^>]*\.part>, .*1000/,
      /fdatasync\(\d+<[^>]*\.part>/,
      /mkdir(at)?\(.*images\/[0-9a-z]{5}"/,
      /link(at)?\(.*images\/[0-9a-z]{5}\/.* = 0/,
      /fsync\(\d+<[^>]*\/images\/[0-9a-z]{5}>/,
      /fsync\(\d+<[^>]*\/images>/,
      /write\(1<.*"resolved"/,
    ]
    const places = order.map((call) => calls.findIndex((line) => call.test(line)))
    expect(places).not.toContain(-1)
    expect(places).toEqual([...places].sort((a, b) => a - b))
  })

  test.skipIf(!hasStrace)('a staged file is on disk before it gets its name', async () => {
    const { calls } = await trace(
      `const file = await spool.create()
       await file.write(Buffer.alloc(1000))
       await store.put('${aKey()}', { size: 1000, file, open() { throw new Error() } })
       await file.remove()`,
      ...['-e', 'trace=fdatasync,link,linkat'],
    )
    const synced = calls.findIndex((line) => /fdatasync\(\d+<[^>]*\.part>/.test(line))
    const linked = calls.findIndex((line) => /link(at)?\(.*\.part.*\/images\/[0-9a-z]{5}\/.* = 0/.test(line))
    expect(synced).toBeGreaterThan(-1)
    expect(linked).toBeGreaterThan(synced)
  })

  test.skipIf(!hasStrace)(
    'a folder that cannot be made durable fails the puts, which leave nothing',
    async () => {
      const keys = [aKey(), aKey()]
      const { output } = await trace(
        `await store.check()
       const puts = await Promise.allSettled(${JSON.stringify(keys)}.map(put))
       const left = await Array.fromAsync(store.list())
       writeSync(1, JSON.stringify({ puts: puts.map((put) => put.status), left }))`,
        // A start syncs one folder; what counts is each thread's own.
        ...['-e', 'trace=fsync', '-P', `${dir}/images`, '-e', 'inject=fsync:error=EIO'],
      )
      expect(JSON.parse(output)).toEqual({ puts: ['rejected', 'rejected'], left: [] })
      expect(await everything(dir)).toEqual(['script.ts'])
    },
  )

  test.skipIf(!hasStrace)(
    'a file system without hard links will do, and still nothing is replaced',
    async () => {
      const key = aKey()
      const { output } = await trace(
        `const { firstKey } = await openKeyring({ dataDir: '${dir}' })
       await put('${key}')
       const again = await put('${key}').catch((error) => error.name)
       writeSync(1, JSON.stringify({ again, hasKey: firstKey !== undefined, ...(await store.stat('${key}')) }))`,
        ...['-e', 'trace=link,linkat', '-e', 'inject=link,linkat:error=EPERM'],
      )
      expect(JSON.parse(output)).toEqual({ again: 'ObjectExists', hasKey: true, size: 1000 })
      expect(await readdir(join(dir, 'tmp'))).toEqual([])
    },
  )

  test('files are readable by their owner’s group at the most', async () => {
    const { store } = await openAt(dir)
    const key = aKey()
    await store.put(key, inMemory(bytesOf(1)))
    const { mode } = await stat(join(dir, 'images', key.slice(0, 5), key))
    expect((mode & 0o007).toString(8)).toBe('0')
  })
})
