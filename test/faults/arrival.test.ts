import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openPresign, type Presign } from '../../src/presign.ts'
import { openS3Store } from '../../src/store/s3.ts'
import { type Store, StoreError } from '../../src/store/store.ts'
import { openSqliteUsage } from '../../src/usage/sqlite.ts'
import type { Usage } from '../../src/usage/usage.ts'
import { type Fault, type FaultyS3, type Operation, startFaultyS3 } from '../support/faulty-s3.ts'
import { pngOfSize, sha256 } from '../support/images.ts'
import { inMemory } from '../support/staged.ts'
import { tempSpool } from '../support/temp-folder.ts'

/**
 * What was sent straight to the bucket becomes an image in five calls: list what was sent, read it, store it, look whether it was deleted
 * meanwhile, delete what was sent. Whichever of them fails, and however: nobody is told that there is an image that is not there, no quota
 * is counted twice, and whoever asks next, when the store is well again, gets the image.
 */

const image = pngOfSize(300_000)
const keyId = 'a'.repeat(64)
const config = {
  presignLifetime: 900,
  uploadTimeout: 300,
  maxOpenLinks: 100,
  maxFileSize: 1_000_000,
  maxPixels: 1e8,
}
const quota = { limit: 1_000_000, window: 3600, hold: 60 }

let s3: FaultyS3
let folder: Awaited<ReturnType<typeof tempSpool>>
let usage: Usage
let store: Store
let incoming: Store
let presign: Presign
let sentTo: string

beforeEach(async () => {
  s3 = await startFaultyS3()
  folder = await tempSpool()
  usage = await openSqliteUsage({ path: join(folder.path, 'usage.sqlite') })
  store = await openStore('images/')
  incoming = await openStore('incoming/')
  presign = openPresign({
    admission: { take: async () => ({ [Symbol.dispose]: () => {} }) },
    ...{ config, store, usage, spool: folder.spool, secret: Buffer.alloc(32, 7) },
    now: Date.now,
    uploadUrlOf: () => '',
    area: {
      store: incoming,
      sign: async ({ key }) => {
        sentTo = key
        return key
      },
    },
  })
})
afterEach(async () => {
  for (const part of [store, incoming, usage]) await part.close()
  await s3[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

function openStore(prefix: string): Promise<Store> {
  return openS3Store({
    endpoint: s3.endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'key', secretAccessKey: 'very-secret' },
    forcePathStyle: true,
    bucket: 'bucket',
    prefix,
    createBucket: true,
    timeout: 1,
    headersOf: () => ({ contentType: 'image/png', cacheControl: 'no-store' }),
    onNote: () => {},
  })
}

/** Gives out a link, and sends the image to it. */
async function send() {
  const { name } = await presign.announce({ keyId, quota, format: 'png', size: image.length, lifetime: 3600 })
  await incoming.put(sentTo, inMemory(image))
  return name
}

const CALLS: Operation[] = ['ListObjectsV2', 'GetObject', 'PutObject', 'HeadObject', 'DeleteObject']
const FAULTS: Fault[] = [
  { status: 500, code: 'InternalError' },
  { status: 503, code: 'SlowDown' },
  'reset',
  'hang',
]
const SOME: [Operation, Fault][] = [
  ['GetObject', 'stall'],
  ['PutObject', 'lose the answer'],
  ['PutObject', 'wrong bytes'],
  ['DeleteObject', 'lose the answer'],
]

describe('an image that was sent to the bucket', () => {
  test.each([...CALLS.flatMap((call) => FAULTS.map((fault) => [call, fault] as const)), ...SOME])(
    'while %s has the fault %j, is an image or none, and counted once; afterwards it is one',
    async (operation, fault) => {
      const name = await send()
      s3.fail(operation, fault)
      const completed = await presign.complete(name).then(
        () => true,
        (error) => {
          expect(error).toBeInstanceOf(StoreError)
          return false
        },
      )
      // Tidying up is not what its sender waits for.
      expect(completed).toBe(operation === 'DeleteObject')
      s3.heal()
      const used = async () => usage.read({ key: keyId, window: quota.window, now: Date.now() })
      // Whether or not it is counted already, its bytes are taken once.
      const before = await used()
      expect(before.used + before.reserved).toBe(image.length)

      await presign.complete(name)
      const { body } = await presign.store.open(name.text)
      expect(sha256(await buffer(body))).toBe(sha256(image))
      expect(await used()).toMatchObject({ used: image.length, reserved: 0 })
      expect(await Array.fromAsync(store.list())).toEqual([{ key: name.text, size: image.length }])
      // At the most what was sent, which a sweep removes when its link has run out.
      const mayStay = operation === 'DeleteObject' || fault === 'lose the answer'
      expect((await Array.fromAsync(incoming.list())).length).toBeLessThanOrEqual(mayStay ? 1 : 0)
      expect((await folder.names()).filter((name) => name.endsWith('.part'))).toEqual([])
    },
  )
})
