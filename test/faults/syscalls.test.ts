import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { shardOf } from '../../src/store/shards.ts'
import { authorization } from '../support/app.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, openSocket, parseResponse, uploadHead } from '../support/socket.ts'
import { aKey } from '../support/staged.ts'
import { canTrace, trace } from '../support/strace.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const ENV = { ...OWN_KEY, MIN_FREE_SPACE: '0', SWEEP_INTERVAL: '0', LIFETIME: '1h' }
const LARGE = pngOfSize(600_000)

let server: ServerProcess

/** Folders that an image which is uploaded now can be put into. */
function shards(): string[] {
  const now = Math.floor(Date.now() / 1000)
  const expiries = [now + 3600, now + 3600 + 1023]
  return expiries.map((expires) => join(server.dataDir, 'images', shardOf(aKey({ expires, created: now }))))
}

const only = (...paths: string[]) => paths.flatMap((path) => ['-P', path])

/** Where a call is made to fail: of which images, and with what options besides. */
const STEPS: readonly { call: string; image: Buffer; what: string; options?: () => string[] }[] = [
  { call: 'openat', image: LARGE, what: 'making the temp file of a large image' },
  { call: 'openat', image: tinyPng, what: 'making the temp file of a small image' },
  {
    call: 'openat',
    image: tinyPng,
    what: 'opening the folder of an image to sync it',
    options: () => only(...shards()),
  },
  { call: 'fdatasync', image: LARGE, what: 'syncing a large image' },
  { call: 'fdatasync', image: tinyPng, what: 'syncing a small image' },
  { call: '?link,?linkat', image: LARGE, what: 'naming a large image' },
  { call: '?link,?linkat', image: tinyPng, what: 'naming a small image' },
  { call: 'fsync', image: LARGE, what: 'syncing the folder of a large image' },
  { call: 'fsync', image: tinyPng, what: 'syncing the folder of a small image' },
]
const ERRORS = ['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'EROFS', 'EACCES']

describe.skipIf(!canTrace)('a system call that fails', () => {
  let kept: string
  beforeAll(async () => {
    server = await startServer({ env: ENV })
    kept = (await WAYS.form(server.url, LARGE)).path ?? ''
  })
  afterAll(() => server[Symbol.asyncDispose]())
  // Whatever went wrong, the same process goes on: reads as before, takes the next upload, and has kept nothing of the last.
  afterEach(async () => {
    expect(sha256((await call(server.url + kept)).body)).toBe(sha256(LARGE))
    const { path = '' } = await WAYS.base64(server.url, tinyPng)
    expect((await server.files()).sort()).toEqual([basename(kept), basename(path)].sort())
    await call(`${server.url}/v1/files/uploads/file_${basename(path, '.png')}`, { method: 'DELETE' })
  })

  const statusOf = (error: string) => (['ENOSPC', 'EDQUOT'].includes(error) ? 507 : 503)

  test.each(STEPS)(
    '$call, $what, is 507 or 503 with a stable code, whatever the error',
    async ({ call, image, options }) => {
      for (const error of ERRORS) {
        await using _ = await trace(server.pid, [`--inject=${call}:error=${error}`, ...(options?.() ?? [])])
        const { status, code } = await WAYS.base64(server.url, image)
        expect({ error, status, code }).toEqual({
          error,
          status: statusOf(error),
          code: statusOf(error) === 507 ? 'storage_full' : 'store_unavailable',
        })
      }
    },
  )

  test('write, in the middle of a large image, is the same', async () => {
    for (const error of ERRORS) {
      const { path, finish } = await beginUpload()
      await using tracing = await trace(server.pid, [
        `--inject=write,pwrite64,writev:error=${error}`,
        ...only(path),
      ])
      const { status } = await finish()
      expect({ error, status }).toEqual({ error, status: statusOf(error) })
      expect(await tracing.calls()).toContainEqual(expect.stringContaining('(INJECTED)'))
    }
  })
})

test.skipIf(!canTrace)(
  'an image that cannot be read is 503, to its owner and to anybody, until it can be',
  async () => {
    await using uploaded = await startServer({ env: ENV })
    const { path = '' } = await WAYS.form(uploaded.url, LARGE)
    const name = basename(path)
    await uploaded.stop('SIGTERM')
    // Another process, which has to read the header: the first one remembers it.
    await using own = await startServer({ env: ENV, dataDir: uploaded.dataDir })
    const facts = () => call(`${own.url}/v1/files/uploads/file_${basename(name, '.png')}`)
    {
      const file = join(own.dataDir, 'images', shardOf(name), name)
      await using _ = await trace(own.pid, ['--inject=read,pread64:error=EIO', ...only(file)])
      const { status, body } = await facts()
      expect({ status, code: JSON.parse(String(body)).error?.code }).toEqual({
        status: 503,
        code: 'store_unavailable',
      })
      expect((await call(own.url + path)).status).toBe(503)
    }
    expect((await facts()).status).toBe(200)
    expect(sha256((await call(own.url + path)).body)).toBe(sha256(LARGE))
  },
)

/** Sends half of a large image; answers where the server keeps it. */
async function beginUpload() {
  const form = uploadOf(LARGE)
  const socket = await openSocket(Number(new URL(server.url).port))
  socket.write(uploadHead(form, authorization))
  socket.write(form.body.subarray(0, 300_000))
  const temp = join(server.dataDir, 'tmp')
  await eventually(async () => (await readdir(temp)).length === 1)
  const [name = ''] = await readdir(temp)
  return {
    path: join(temp, name),
    async finish() {
      socket.write(form.body.subarray(300_000))
      return parseResponse(await buffer(socket))
    },
  }
}
