import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { type Staged, stage } from '../../src/stage.ts'
import { type Fitter, openFitter } from '../../src/vision/fitter.ts'
import { fixture } from '../support/images.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder, tempSpool } from '../support/temp-folder.ts'

/** What holds whatever the library does: here it is one that does the worst that a decoder could. */

const CONFIG = {
  fit: { workers: 2, timeout: 20, memory: 128 * 1024 ** 2 },
  maxFileSize: 1e6,
  maxPixels: 1e8,
  maxKeyShare: 50,
}

const keyring = { isShared: () => false }

/** A library whose only answer is made by this piece of code, given the image as `input`. */
async function libraryThat(does: string, home: string): Promise<void> {
  const folder = join(home, 'node_modules/sharp')
  await mkdir(folder, { recursive: true })
  await writeFile(
    join(folder, 'index.js'),
    `const pipeline = (input) => new Proxy({}, { get: (_, name) =>
       name === 'metadata' ? async () => ({ width: 512, height: 242, hasAlpha: false, space: 'srgb' })
       : name === 'toBuffer' ? async () => { ${does} }
       : () => pipeline(input) })
     module.exports = Object.assign(pipeline, { cache() {}, concurrency() {}, block() {}, unblock() {} })`,
  )
}

interface Bench extends AsyncDisposable {
  readonly fitter: Fitter
  readonly image: Staged
  readonly temp: TempFolder
  readonly home: TempFolder
}

async function bench(does: string | undefined, fit: Partial<typeof CONFIG.fit> = {}): Promise<Bench> {
  const home = await tempFolder()
  if (does !== undefined) await libraryThat(does, home.path)
  const temp = await tempSpool()
  const config = { ...CONFIG, fit: { ...CONFIG.fit, ...fit } }
  const fitter = openFitter({ config, keyring, spool: temp.spool, digest: undefined, home: home.path })
  const body = (async function* () {
    yield fixture('photo.jpg')
  })()
  const image = await stage(body, { spool: temp.spool, maxFileSize: 1e6, maxPixels: 1e8 })
  return {
    ...{ fitter, image, temp, home },
    async [Symbol.asyncDispose]() {
      fitter.close()
      await image[Symbol.asyncDispose]()
      // No temp file of a copy, whatever became of it.
      expect(await temp.names()).toEqual([])
      await temp[Symbol.asyncDispose]()
      await home[Symbol.asyncDispose]()
    },
  }
}

const wanted = { limits: undefined, strip: true }
const by = (signal = new AbortController().signal) => ({ keyId: 'k', signal })
const make = ({ fitter, image }: Bench, signal?: AbortSignal) => fitter.make(image, wanted, by(signal))

/** Workers that a process has at the moment, this one unless it is told. */
async function workers(of = process.pid): Promise<number> {
  const found = promisify(execFile)('pgrep', ['-P', String(of), '-f', 'fit-worker'])
  const { stdout } = await found.catch(() => ({ stdout: '' }))
  return stdout.split('\n').filter((line) => line !== '').length
}

const SENDS_BACK = 'return input'

/** Makes one copy in a process of its own, as a server would. */
const MAKER = join(import.meta.dirname, '../support/make-copy.ts')

test('a copy is what the worker sends, looked at like any upload', async () => {
  await using at = await bench(SENDS_BACK)
  await using copy = await make(at)
  expect(copy?.header).toMatchObject({ width: 1024, height: 484 })
  expect((await buffer(copy?.open() as NodeJS.ReadableStream)).equals(fixture('photo.jpg'))).toBe(true)
})

test.each([
  ['sends what is no image', `return Buffer.from('<svg onload="alert(1)">')`],
  ['sends nothing', 'return Buffer.alloc(0)'],
  ['sends too much', 'return Buffer.concat([input, Buffer.alloc(1e6)])'],
  ['says that it cannot', `throw new Error('/secret/path: damaged')`],
  ['ends the process', 'process.exit(0)'],
  ['crashes', 'process.abort()'],
  ['is killed', `process.kill(process.pid, 'SIGKILL')`],
  ['eats memory', 'const all = []; for (;;) all.push(Buffer.alloc(1e7, 1))'],
  ['opens a file to write', `require('fs').writeFileSync(__dirname + '/written', 'x'); return input`],
])('a decoder that %s makes no copy, and leaves nothing', async (_what, does) => {
  await using at = await bench(does)
  await expect(make(at)).rejects.toMatchObject({ code: 'fit_failed', status: 422 })
  await expect(make(at)).rejects.not.toThrow(/secret/)
  expect(await workers()).toBe(0)
})

test.each([
  ['waits for ever', 'return new Promise(() => setInterval(() => {}, 1000))'],
  ['computes for ever', 'for (;;);'],
])('a decoder that %s is ended', async (_what, does) => {
  await using at = await bench(does, { timeout: 1 })
  await expect(make(at)).rejects.toThrow(/too much time or memory/)
  expect(await workers()).toBe(0)
})

test('a decoder is given no environment', async () => {
  process.env.LAYOVER_TEST_SECRET = 'do not tell'
  await using at = await bench('throw new Error(Object.keys(process.env).sort().join())')
  const error: unknown = await make(at).catch((error: unknown) => error)
  const cause = String((error as Error).cause)
  // PWD and the like are the shell's.
  expect(cause).toMatch(/VIPS_BLOCK_UNTRUSTED/)
  expect(cause).not.toMatch(/LAYOVER|PATH|HOME|NODE_/)
  delete process.env.LAYOVER_TEST_SECRET
})

test('a client that leaves ends its worker', async () => {
  await using at = await bench('return new Promise(() => setInterval(() => {}, 1000))')
  const gone = new AbortController()
  const made = make(at, gone.signal)
  made.catch(() => {})
  await eventually(async () => (await workers()) === 1)
  gone.abort(new Error('gone'))
  await expect(made).rejects.toThrow('gone')
  expect(await workers()).toBe(0)
})

test('a server that is killed takes its workers with it', async () => {
  await using home = await tempFolder()
  await using temp = await tempFolder()
  await libraryThat('return new Promise(() => setInterval(() => {}, 1000))', home.path)
  const image = join(import.meta.dirname, '../fixtures/photo.jpg')
  const server = spawn(process.execPath, [MAKER, image, home.path, temp.path], { stdio: 'ignore' })
  await eventually(async () => (await workers(server.pid)) === 1)
  const { stdout } = await promisify(execFile)('pgrep', ['-P', String(server.pid), '-f', 'fit-worker'])
  server.kill('SIGKILL')
  await eventually(() => !existsSync(`/proc/${stdout.trim()}`))
})

test('twenty at once are made by two workers', async () => {
  await using at = await bench(`await new Promise((resolve) => setTimeout(resolve, 100)); ${SENDS_BACK}`)
  let most = 0
  let isOver = false
  const watching = (async () => {
    while (!isOver) most = Math.max(most, await workers())
  })()
  const copies = await Promise.all(Array.from({ length: 20 }, () => make(at)))
  isOver = true
  await watching
  expect(most).toBe(2)
  for (const copy of copies) await copy?.[Symbol.asyncDispose]()
})

test('beyond those that may wait, it is busy', async () => {
  await using at = await bench('return new Promise(() => setInterval(() => {}, 1000))', { workers: 1 })
  const gone = new AbortController()
  const all = Array.from({ length: 18 }, () => make(at, gone.signal))
  const codes = all.map((one) => one.catch(({ code }) => code))
  expect(await Promise.race(codes)).toBe('fit_busy')
  await eventually(async () => (await workers()) === 1)
  gone.abort(Object.assign(new Error('gone'), { code: 'gone' }))
  const ended = await Promise.all(codes)
  expect(ended.filter((code) => code === 'fit_busy').length).toBe(1)
})

test('without the library, or with no workers, it says so and what to do', async () => {
  await using missing = await bench(undefined)
  expect(() => missing.fitter.refuseUnlessReady()).toThrow(/npm run fit:install/)
  await using off = await bench(SENDS_BACK, { workers: 0 })
  expect(() => off.fitter.refuseUnlessReady()).toThrow(/FIT_WORKERS=0/)
  await expect(make(off)).rejects.toMatchObject({ code: 'fit_unavailable', status: 501 })
})

test('a library that cannot be loaded is not the image’s fault', async () => {
  await using at = await bench(SENDS_BACK)
  await writeFile(join(at.home.path, 'node_modules/sharp/index.js'), `throw new Error('for another system')`)
  const error: unknown = await make(at).catch((error: unknown) => error)
  expect(error).toMatchObject({ code: 'fit_unavailable', status: 501 })
  // What is wrong is for the operator to read.
  expect(String((error as Error).cause)).toMatch(/for another system/)
  expect(String(error)).not.toMatch(/for another system/)
})

test.each([
  'VipsJpeg: Insufficient memory (case 4)',
  'vips_tracked: out of memory -- size == 114MB',
  'Invalid typed array length: Array buffer allocation failed',
])('one that says "%s" says that it is for the memory', async (text) => {
  await using at = await bench(`throw new Error('${text}')`)
  await expect(make(at)).rejects.toThrow(/it takes too much memory/)
})

test('a system that has no room for another process is busy', async () => {
  await using home = await tempFolder()
  await using temp = await tempFolder()
  await libraryThat(SENDS_BACK, home.path)
  const image = join(import.meta.dirname, '../fixtures/photo.jpg')
  const few = ['-c', 'ulimit -n 200; exec "$@"', 'sh', process.execPath]
  const made = promisify(execFile)('/bin/sh', [...few, MAKER, image, home.path, temp.path, 'no descriptors'])
  expect((await made).stdout).toBe('fit_busy')
})

test('the library can be installed while the server runs', async () => {
  await using home = await tempFolder()
  await using temp = await tempSpool()
  const fitter = openFitter({
    config: CONFIG,
    keyring,
    spool: temp.spool,
    digest: undefined,
    home: home.path,
  })
  expect(() => fitter.refuseUnlessReady()).toThrow(/not installed/)
  await libraryThat(SENDS_BACK, home.path)
  expect(() => fitter.refuseUnlessReady()).not.toThrow()
})

test('an image that is as wanted needs no copy', async () => {
  await using at = await bench('throw new Error("asked")')
  const limits = { maxSide: 2000, formats: ['jpeg'] as const, animated: false }
  expect(await at.fitter.make(at.image, { limits, strip: false }, by())).toBeUndefined()
})

test('the command that it names is there', async () => {
  const { scripts } = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'))
  expect(scripts['fit:install']).toMatch(/^npm ci --prefix fit --ignore-scripts/)
})
