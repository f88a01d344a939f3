import { randomUUID } from 'node:crypto'
import {
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketLifecycleConfigurationCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/open-store.ts'
import { ObjectNotFound, type Store, StoreError } from '../../src/store/store.ts'
import { sweep } from '../../src/sweeper.ts'
import { s3ClientOf, variablesOf } from '../support/place.ts'
import type { S3Access } from '../support/s3-servers.ts'
import { aKey, asStream, bytesOf, inMemory } from '../support/staged.ts'
import { tempSpool } from '../support/temp-folder.ts'
import { storeContract } from './contract.ts'

/** These run on a real server, which is told by the project (`vitest.config.ts`). */
const access = JSON.parse(inject('s3')) as S3Access
const client = s3ClientOf(access)
let folder: Awaited<ReturnType<typeof tempSpool>>
beforeAll(async () => {
  folder = await tempSpool()
})
afterAll(async () => {
  client.destroy()
  await folder[Symbol.asyncDispose]()
})

const newBucket = () => `layover-test-${randomUUID()}`

interface Opened {
  readonly store: Store
  readonly notes: string[]
}

async function open(bucket: string, env: Record<string, string> = {}): Promise<Opened> {
  const notes: string[] = []
  const config = loadConfig({ STORE: 's3', S3_BUCKET: bucket, ...variablesOf(access), ...env })
  const store = await openStore({ config, spool: folder.spool, onNote: (note) => notes.push(note) })
  return { store, notes }
}

async function allKeys(bucket: string): Promise<string[]> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  return Contents.map(({ Key = '' }) => Key)
}

async function removeBucket(bucket: string): Promise<void> {
  for (const Key of await allKeys(bucket)) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
  await client.send(new DeleteBucketCommand({ Bucket: bucket }))
}

storeContract('s3', async () => {
  const bucket = newBucket()
  const { store } = await open(bucket)
  return {
    store,
    reopen: async () => (await open(bucket)).store,
    leftovers: async () => (await allKeys(bucket)).filter((key) => !/^images\/[0-9a-z]+\.png$/.test(key)),
    async close() {
      await store.close()
      await removeBucket(bucket)
    },
  }
})

describe('in a bucket', () => {
  let bucket: string
  let store: Store
  beforeEach(async () => {
    bucket = newBucket()
    store = (await open(bucket)).store
  })
  afterEach(async () => {
    await store.close()
    await removeBucket(bucket)
  })

  test('an object has the headers that a fetcher from the bucket needs, with its end as a date', async () => {
    const [mortal, immortal] = [aKey({ expires: 2_000_000_000 }), aKey({ expires: Number.POSITIVE_INFINITY })]
    for (const key of [mortal, immortal]) await store.put(key, inMemory(bytesOf(10)))
    const headersOf = async (key: string) => {
      const found = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: `images/${key}` }))
      return [found.ContentType, found.CacheControl, found.ExpiresString]
    }
    expect(await headersOf(mortal)).toEqual([
      'image/png',
      'public, immutable',
      'Wed, 18 May 2033 03:33:20 GMT',
    ])
    expect(await headersOf(immortal)).toEqual(['image/png', 'public, max-age=31536000, immutable', undefined])
  })

  test('bytes that are not those of the digest are refused, and nothing is left', async () => {
    const wrong = { md5: 'AAAAAAAAAAAAAAAAAAAAAA==' }
    await expect(store.put(aKey(), { ...inMemory(bytesOf(10)), ...wrong })).rejects.toThrow(/BadDigest/)
    await expect(store.put(aKey(), { ...asStream(bytesOf(200_000)), ...wrong })).rejects.toThrow(StoreError)
    expect(await allKeys(bucket)).toEqual([])
  })

  test('what others keep there is neither listed nor deleted', async () => {
    const others = ['images/readme.txt', 'images/', 'images/sub/0000000', 'zebra.png', '0.png']
    for (const Key of others) await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'x' }))
    const key = aKey({ expires: 1000 })
    await store.put(key, inMemory(bytesOf(5)))
    expect(await Array.fromAsync(store.list())).toEqual([{ key, size: 5 }])
    const { deleted, failed } = await sweep({
      store,
      spool: folder.spool,
      now: Date.now(),
      onError: () => {},
    })
    expect({ deleted, failed }).toEqual({ deleted: 1, failed: 0 })
    expect(await allKeys(bucket)).toEqual(others.sort())
  })

  test('two replicas see each other’s images and delete them', async () => {
    const { store: other } = await open(bucket)
    const key = aKey()
    await store.put(key, inMemory(bytesOf(1000)))
    expect(await other.stat(key)).toEqual({ size: 1000 })
    await other.delete(key)
    await expect(store.open(key)).rejects.toThrow(ObjectNotFound)
    await other.close()
  })

  test('two replicas that sweep at once leave nothing that has expired, and all that lives', async () => {
    const { store: other } = await open(bucket)
    const expired = Array.from({ length: 1200 }, (_, i) => aKey({ expires: 1_000_000 + i }))
    const living = [aKey(), aKey({ expires: Number.POSITIVE_INFINITY })]
    const all = [...expired, ...living]
    for (let i = 0; i < all.length; i += 50)
      await Promise.all(all.slice(i, i + 50).map((key) => store.put(key, inMemory(Buffer.of(1)))))
    const errors: unknown[] = []
    const sweepOf = (store: Store) =>
      sweep({ store, spool: folder.spool, now: Date.now(), onError: (error) => errors.push(error) })
    const results = await Promise.all([sweepOf(store), sweepOf(other)])
    expect(errors).toEqual([])
    expect(results.reduce((sum, { deleted }) => sum + deleted, 0)).toBeGreaterThanOrEqual(1200)
    expect(await Array.fromAsync(store.list(), ({ key }) => key)).toEqual(living.sort())
    await other.close()
  })

  test('many are deleted in one call, and those that are gone already are no failure', async () => {
    const keys = Array.from({ length: 3 }, () => aKey())
    for (const key of keys.slice(1)) await store.put(key, inMemory(Buffer.of(1)))
    expect(await store.deleteMany?.(keys)).toEqual([])
    expect(await allKeys(bucket)).toEqual([])
  })

  test('with S3_PREFIX=/ the keys are the names alone', async () => {
    const { store: bare } = await open(bucket, { S3_PREFIX: '/' })
    const key = aKey()
    await bare.put(key, inMemory(Buffer.of(1)))
    expect(await allKeys(bucket)).toEqual([key])
    expect(await Array.fromAsync(bare.list())).toEqual([{ key, size: 1 }])
    await bare.close()
  })
})

test('when the bucket goes, nothing is not found: the store has failed', async () => {
  const bucket = newBucket()
  const { store } = await open(bucket)
  await expect(store.check()).resolves.toBeUndefined()
  await removeBucket(bucket)
  const failures = await Promise.all(
    [store.stat(aKey()), store.open(aKey()), store.check(), store.put(aKey(), inMemory(Buffer.of(1)))].map(
      (call) => call.then(Boolean, (error) => error),
    ),
  )
  for (const failure of failures) {
    expect(failure).toBeInstanceOf(StoreError)
    expect(failure).not.toBeInstanceOf(ObjectNotFound)
  }
  await expect(Array.fromAsync(store.list())).rejects.toThrow(StoreError)
  await store.close()
})

describe('a start', () => {
  test('makes the bucket, and leaves nothing of its trial in it', async () => {
    const bucket = newBucket()
    const { store } = await open(bucket)
    expect(await allKeys(bucket)).toEqual([])
    await store.close()
    await removeBucket(bucket)
  })

  test('of two replicas at once with a new bucket is fine', async () => {
    const bucket = newBucket()
    const both = await Promise.all([open(bucket), open(bucket)])
    for (const { store } of both) await store.close()
    await removeBucket(bucket)
  })

  test.each([
    {
      what: 'a bucket that is not there and may not be made',
      env: { S3_CREATE_BUCKET: 'false' },
      says: /^S3_BUCKET: there is no bucket/,
    },
    {
      what: 'a wrong secret key',
      env: { S3_SECRET_ACCESS_KEY: 'wrong-secret-key' },
      says: /^S3_SECRET_ACCESS_KEY: /,
    },
    { what: 'an unknown key', env: { S3_ACCESS_KEY_ID: 'nobody' }, says: /^S3_ACCESS_KEY_ID: / },
    {
      what: 'an address where nobody is',
      env: { S3_ENDPOINT: 'http://127.0.0.1:1' },
      says: /^S3_ENDPOINT: nothing answers at/,
    },
    {
      what: 'https where http is spoken',
      env: { S3_ENDPOINT: access.endpoint.replace('http:', 'https:') },
      says: /^S3_ENDPOINT: .*does not speak TLS/,
    },
  ])('with $what says so', async ({ env, says }) => {
    const failure = await open(newBucket(), env).catch((error) => error)
    expect(failure).toBeInstanceOf(StoreError)
    expect(failure.message).toMatch(says)
    expect(failure.message).not.toContain(access.secretAccessKey)
  })
})

describe('the lifecycle rule', () => {
  let bucket: string
  beforeEach(async () => {
    bucket = newBucket()
  })
  afterEach(() => removeBucket(bucket))

  async function openAndClose(env: Record<string, string> = {}): Promise<string[]> {
    const { store, notes } = await open(bucket, env)
    await store.close()
    return notes
  }

  async function rules() {
    const command = new GetBucketLifecycleConfigurationCommand({ Bucket: bucket })
    const Rules = await client.send(command).then(
      (answer) => answer.Rules ?? [],
      (error) => {
        if (error.name !== 'NoSuchLifecycleConfiguration') throw error
        return []
      },
    )
    return Rules.map(({ ID, Status, Filter, Expiration }) => ({
      id: ID,
      status: Status,
      prefix: Filter?.Prefix,
      days: Expiration?.Days,
    }))
  }

  const ours = (days: number) => ({ id: 'layover images/', status: 'Enabled', prefix: 'images/', days })
  const theirs = { id: 'logs', status: 'Enabled', prefix: 'logs/', days: 30 }

  async function setTheirs() {
    const rule = {
      ID: 'logs',
      Status: 'Enabled',
      Filter: { Prefix: 'logs/' },
      Expiration: { Days: 30 },
    } as const
    const configuration = { Bucket: bucket, LifecycleConfiguration: { Rules: [rule] } }
    await client.send(new PutBucketLifecycleConfigurationCommand(configuration))
  }

  test('is for the whole days of MAX_LIFETIME and one more, on our prefix alone', async () => {
    await openAndClose({ LIFETIME: '72h' })
    expect(await rules()).toEqual([ours(4)])
    await openAndClose({ LIFETIME: '72h', MAX_LIFETIME: '73h' })
    expect(await rules()).toEqual([ours(5)])
  })

  test('is never made to delete sooner, as images may have been promised a longer life', async () => {
    await openAndClose({ LIFETIME: '30d' })
    await openAndClose({ LIFETIME: '1h' })
    expect(await rules()).toEqual([ours(31)])
  })

  test('leaves the operator’s own rules alone, and goes when images may live for ever', async () => {
    await openAndClose()
    await removeBucket(bucket)
    await openAndClose({ MAX_LIFETIME: 'never' })
    await setTheirs()
    await openAndClose()
    expect(await rules()).toEqual(expect.arrayContaining([theirs, ours(4)]))
    await openAndClose({ MAX_LIFETIME: 'never' })
    expect(await rules()).toEqual([theirs])
  })

  test('alone in the bucket goes without a trace', async () => {
    await openAndClose()
    await openAndClose({ LIFETIME: 'never' })
    expect(await rules()).toEqual([])
  })

  test('is not set where an image is stored that lives longer, and the log says so', async () => {
    const { store } = await open(bucket, { LIFETIME: 'never' })
    const key = aKey({ expires: Number.POSITIVE_INFINITY })
    await store.put(key, inMemory(Buffer.of(1)))
    expect(await openAndClose()).toEqual([expect.stringContaining('live longer than MAX_LIFETIME')])
    expect(await rules()).toEqual([])
    await store.delete(key)
    await store.close()
    expect(await openAndClose()).toEqual([])
    expect(await rules()).toEqual([ours(4)])
  })

  test('is not set where an image lives longer from its beginning, as that is what days are counted from', async () => {
    const now = Math.floor(Date.now() / 1000)
    const { store } = await open(bucket, { LIFETIME: 'never' })
    const key = aKey({ created: now - 28 * 86_400, expires: now + 2 * 86_400 })
    await store.put(key, inMemory(Buffer.of(1)))
    await store.close()
    expect(await openAndClose()).toEqual([expect.stringContaining('live longer than MAX_LIFETIME')])
    expect(await rules()).toEqual([])
  })

  test('is not set for a whole bucket, and the log says so', async () => {
    expect(await openAndClose({ S3_PREFIX: '/' })).toEqual([expect.stringContaining('S3_PREFIX is empty')])
    expect(await rules()).toEqual([])
  })
})

test('a bucket that keeps versions is pointed out, as deleting gives no space back there', async () => {
  const bucket = newBucket()
  await (await open(bucket)).store.close()
  const versioning = { Bucket: bucket, VersioningConfiguration: { Status: 'Enabled' } } as const
  await client.send(new PutBucketVersioningCommand(versioning))
  const { store, notes } = await open(bucket)
  await store.close()
  expect(notes).toEqual([expect.stringContaining('keeps versions')])
})
