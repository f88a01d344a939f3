import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openS3Store } from '../../src/store/s3.ts'
import { ObjectExists, ObjectNotFound, StorageFull, type Store, StoreError } from '../../src/store/store.ts'
import { type Fault, type FaultyS3, type Operation, startFaultyS3 } from '../support/faulty-s3.ts'
import { eventually } from '../support/socket.ts'
import { aKey, asStream, bytesOf, inMemory } from '../support/staged.ts'
import { storeContract } from './contract.ts'

let s3: FaultyS3
let store: Store
let notes: string[]

beforeEach(async () => {
  s3 = await startFaultyS3({ pageSize: 10 })
  store = await open()
  s3.asked.length = 0
})
afterEach(async () => {
  await store.close()
  await s3[Symbol.asyncDispose]()
})

async function open({ timeout = 2, createBucket = true } = {}): Promise<Store> {
  notes = []
  return openS3Store({
    endpoint: s3.endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'key', secretAccessKey: 'very-secret' },
    forcePathStyle: true,
    bucket: 'bucket',
    prefix: 'images/',
    createBucket,
    timeout,
    backstop: { longestLife: 259_200, lifeOf: () => 259_200 },
    headersOf: () => ({ contentType: 'image/png', cacheControl: 'public' }),
    onNote: (note) => notes.push(note),
  })
}

const bytes = bytesOf(600_000)
const md5 = createHash('md5').update(bytes).digest('base64')
/** As an upload comes: kept in memory, or read from a temp file. */
const ways = { memory: { ...inMemory(bytes), md5 }, stream: { ...asStream(bytes), md5 } }

/** How often each operation was asked for. */
function counts(): Partial<Record<Operation, number>> {
  const found: Partial<Record<Operation, number>> = {}
  for (const operation of s3.asked) found[operation] = (found[operation] ?? 0) + 1
  return found
}

storeContract('s3, a page of 1000 keys', async () => {
  const own = await startFaultyS3()
  s3 = own
  const store = await open()
  return {
    store,
    reopen: () => {
      s3 = own
      return open()
    },
    leftovers: async () => [...own.objects.keys()].filter((key) => !/^images\/[0-9a-z]+\.png$/.test(key)),
    async close() {
      await store.close()
      await own[Symbol.asyncDispose]()
    },
  }
})

describe.each(Object.entries(ways))('an upload from %s', (_way, staged) => {
  const passing: [string, Fault][] = [
    ['500', { status: 500, code: 'InternalError' }],
    ['503 SlowDown', { status: 503, code: 'SlowDown' }],
    ['429', { status: 429, code: 'TooManyRequests' }],
    ['bytes changed on the way', { status: 400, code: 'BadDigest' }],
    ['a body that the server says came too slowly', { status: 400, code: 'RequestTimeout' }],
    ['a reset in the middle', 'reset'],
    ['an answer that is lost', 'lose the answer'],
    ['other bytes than were sent', 'wrong bytes'],
    ['an ETag that is not that of the bytes', 'strange ETag'],
  ]

  test.each(passing)('survives %s once, and is stored once', async (_what, fault) => {
    const key = aKey()
    s3.fail('PutObject', fault, 1)
    await store.put(key, staged)
    expect([...s3.objects.keys()]).toEqual([`images/${key}`])
    expect(s3.objects.get(`images/${key}`)?.bytes.equals(bytes)).toBe(true)
    expect(counts().PutObject).toBe(2)
  })

  test.each(passing)('is given up after three times of %s, and leaves nothing', async (_what, fault) => {
    s3.fail('PutObject', fault)
    await expect(store.put(aKey(), staged)).rejects.toThrow(StoreError)
    expect([...s3.objects.keys()]).toEqual([])
    expect(counts().PutObject).toBe(3)
    s3.heal()
    await store.put(aKey(), staged)
    expect(s3.objects.size).toBe(1)
  })

  test('that the server never answers is given up in time, and leaves nothing', async () => {
    s3.fail('PutObject', 'hang')
    const begun = performance.now()
    await expect(store.put(aKey(), staged)).rejects.toThrow(/no answer in time/)
    // Two seconds, and not the minutes for which a socket may be silent.
    expect(performance.now() - begun).toBeLessThan(10_000)
    expect([...s3.objects.keys()]).toEqual([])
  })

  test('that is aborted when all was sent, but before the server has stored it, leaves nothing', async () => {
    s3.fail('PutObject', 'be late')
    const abort = new AbortController()
    const reason = new Error('client gone')
    const put = store.put(aKey(), staged, { signal: abort.signal })
    await eventually(() => counts().PutObject === 1)
    // All of it is on its way.
    await new Promise((resolve) => setTimeout(resolve, 100))
    abort.abort(reason)
    await expect(put).rejects.toBe(reason)
    expect(counts()).toMatchObject({ PutObject: 1, DeleteObject: 1 })
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect([...s3.objects.keys()]).toEqual([])
  })

  test('that a server stores when its time is long over is taken back', { timeout: 40_000 }, async () => {
    const hasty = await open({ timeout: 1 })
    s3.fail('PutObject', 'be late')
    s3.late = 1500
    await expect(hasty.put(aKey(), staged)).rejects.toThrow(StoreError)
    await eventually(() => s3.objects.size > 0)
    await eventually(() => s3.objects.size === 0)
    await hasty.close()
  })

  test('that is refused is not tried again', async () => {
    s3.fail('PutObject', { status: 403, code: 'AccessDenied' })
    await expect(store.put(aKey(), staged)).rejects.toThrow(/AccessDenied, 403/)
    expect(counts()).toEqual({ PutObject: 1 })
  })

  test.each([
    { status: 507, code: 'XMinioStorageFull' },
    { status: 403, code: 'QuotaExceeded' },
  ])('to a full store ($status $code) says that it is full, once', async (fault) => {
    s3.fail('PutObject', fault)
    await expect(store.put(aKey(), staged)).rejects.toThrow(StorageFull)
    expect(counts().PutObject).toBe(1)
  })
})

test('somebody else’s object is neither replaced nor taken back, whatever goes wrong', async () => {
  const key = aKey()
  s3.objects.set(`images/${key}`, { bytes: bytesOf(10), headers: {} })
  s3.fail('PutObject', { status: 500, code: 'InternalError' }, 1)
  await expect(store.put(key, ways.memory)).rejects.toThrow(ObjectExists)
  s3.fail('PutObject', { status: 500, code: 'InternalError' })
  await expect(store.put(key, ways.memory)).rejects.toThrow(StoreError)
  expect(s3.objects.get(`images/${key}`)?.bytes.length).toBe(10)
})

test('a wrong object is taken back, also when that does not succeed at once', async () => {
  s3.fail('PutObject', 'wrong bytes', 1)
  s3.fail('DeleteObject', { status: 500, code: 'InternalError' }, 3)
  await expect(store.put(aKey(), ways.memory)).rejects.toThrow(StoreError)
  expect([...s3.objects.keys()]).toEqual([])
})

test.each([400, 501])('a server that answers %i to conditions is not sent any', async (status) => {
  s3.fail('PutObject', { status, code: 'NotImplemented' }, 1)
  const other = await open()
  const key = aKey()
  await other.put(key, ways.memory)
  // The condition would refuse this one.
  await other.put(key, ways.memory)
  await other.close()
})

test('refusals that come before the body has been sent hold up no connection', async () => {
  s3.fail('PutObject', 'refuse early')
  const large = asStream(bytesOf(8_000_000))
  await Promise.all(Array.from({ length: 70 }, () => expect(store.put(aKey(), large)).rejects.toThrow(/403/)))
  s3.heal()
  const begun = performance.now()
  await store.put(aKey(), ways.memory)
  // Far below the time for which a silent connection is kept.
  expect(performance.now() - begun).toBeLessThan(900)
})

test('where ETags are no MD5 from the start, they are not looked at', async () => {
  s3.fail('PutObject', 'strange ETag')
  const other = await open()
  s3.asked.length = 0
  await other.put(aKey(), ways.memory)
  expect(counts()).toEqual({ PutObject: 1 })
  await other.close()
})

describe('reading', () => {
  const key = aKey()
  beforeEach(() => store.put(key, ways.memory))

  test('goes on after one failure', async () => {
    s3.fail('GetObject', { status: 503, code: 'SlowDown' }, 1)
    const { size, body } = await store.open(key)
    expect(size).toBe(bytes.length)
    expect((await buffer(body)).equals(bytes)).toBe(true)
    s3.fail('HeadObject', 'reset', 1)
    expect(await store.stat(key)).toEqual({ size: bytes.length })
  })

  test.each([
    'hang',
    { status: 500, code: 'InternalError' },
    { status: 404, code: 'NoSuchBucket' },
    { status: 404, code: 'Gone' },
  ] as Fault[])('fails with the store, and not as if the image were missing: %j', async (fault) => {
    s3.fail('GetObject', fault)
    s3.fail('HeadObject', fault)
    s3.fail('HeadBucket', fault)
    const failures = await Promise.all([store.open(key), store.stat(key)].map((call) => call.catch((e) => e)))
    for (const failure of failures) {
      expect(failure).toBeInstanceOf(StoreError)
      expect(failure).not.toBeInstanceOf(ObjectNotFound)
    }
  })

  test('a body that is cut off fails rather than end', async () => {
    s3.fail('GetObject', 'reset')
    const { body } = await store.open(key)
    await expect(buffer(body)).rejects.toThrow()
  })

  test('a body that stops is given up, also after its reader had paused for longer than that', async () => {
    const hasty = await open({ timeout: 1 })
    // More than the buffers on the way hold.
    const large = bytesOf(40_000_000)
    await hasty.put(aKey(), { ...inMemory(bytes), md5 })
    const slowKey = aKey()
    s3.objects.set(`images/${slowKey}`, { bytes: large, headers: {} })
    s3.fail('GetObject', 'stall')
    const { body } = await hasty.open(slowKey)
    await new Promise((resolve) => setTimeout(resolve, 2500))
    await expect(buffer(body)).rejects.toThrow(/stopped in the middle/)
    await hasty.close()
  })

  test('an abort ends a body that has stopped', async () => {
    s3.fail('GetObject', 'stall')
    const abort = new AbortController()
    const { body } = await store.open(key, { signal: abort.signal })
    const read = buffer(body)
    abort.abort()
    await expect(read).rejects.toThrow(/abort/i)
  })

  test('takes as long as its reader likes: the time is for the call', async () => {
    const { body } = await store.open(key)
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect((await buffer(body)).equals(bytes)).toBe(true)
  })

  test('a hundred times does not pile up listeners on the connections', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    for (let i = 0; i < 100; i += 1) await buffer((await store.open(key)).body)
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })
})

describe('listing, ten keys a page', () => {
  const keys = Array.from({ length: 35 }, (_, i) => aKey({ expires: 1_000_000 + i })).sort()
  beforeEach(() => {
    for (const key of keys) s3.objects.set(`images/${key}`, { bytes: Buffer.of(1), headers: {} })
  })
  const listed = (before?: string) =>
    Array.fromAsync(store.list(before === undefined ? {} : { before }), ({ key }) => key)

  test('stops at the first key that is not wanted', async () => {
    expect(await listed(keys[2])).toEqual(keys.slice(0, 2))
    // The first time, a page more shows whether there is an order.
    expect(counts().ListObjectsV2).toBe(2)
    expect(await listed(keys[2])).toEqual(keys.slice(0, 2))
    expect(counts().ListObjectsV2).toBe(3)
    expect(await listed(keys[12])).toEqual(keys.slice(0, 12))
    expect(counts().ListObjectsV2).toBe(5)
  })

  test('goes on after a page that fails once', async () => {
    s3.fail('ListObjectsV2', { status: 500, code: 'InternalError' }, 1)
    expect(await listed()).toEqual(keys)
  })

  test('throws where a page goes on failing, rather than end early', async () => {
    const seen: string[] = []
    const list = async () => {
      for await (const { key } of store.list()) {
        seen.push(key)
        s3.fail('ListObjectsV2', { status: 503, code: 'SlowDown' })
      }
    }
    await expect(list()).rejects.toThrow(StoreError)
    expect(seen).toEqual(keys.slice(0, 10))
  })

  test('throws where the server does not say how to go on', async () => {
    s3.fail('ListObjectsV2', 'no next page')
    await expect(listed()).rejects.toThrow(/next page/)
  })

  test('of a server that knows no order of pages is read to its end too', async () => {
    s3.fail('ListObjectsV2', 'no order of pages')
    expect((await listed(keys[5])).sort()).toEqual(keys.slice(0, 5))
    expect((await listed(keys[5])).sort()).toEqual(keys.slice(0, 5))
    expect(notes).toEqual([expect.stringContaining('in no order')])
  })

  test('of a server that knows no order is read to its end, and the operator told once', async () => {
    s3.fail('ListObjectsV2', 'no order')
    expect((await listed(keys[5])).sort()).toEqual(keys.slice(0, 5))
    expect((await listed(keys[30])).sort()).toEqual(keys.slice(0, 30))
    expect(notes).toEqual([expect.stringContaining('in no order')])
  })
})

describe('deleting', () => {
  const keys = Array.from({ length: 30 }, () => aKey())
  beforeEach(() => {
    for (const key of keys) s3.objects.set(`images/${key}`, { bytes: Buffer.of(1), headers: {} })
  })

  test('many is one call', async () => {
    expect(await store.deleteMany?.(keys)).toEqual([])
    expect(s3.objects.size).toBe(0)
    expect(counts()).toEqual({ DeleteObjects: 1 })
  })

  test.each([
    { status: 501, code: 'NotImplemented' },
    { status: 400, code: 'MissingContentMD5' },
    { status: 405, code: 'MethodNotAllowed' },
  ])('goes one by one on a server that answers $status $code to many, and stays with it', async (fault) => {
    s3.fail('DeleteObjects', fault)
    expect(await store.deleteMany?.(keys.slice(0, 20))).toEqual([])
    expect(await store.deleteMany?.(keys.slice(20))).toEqual([])
    expect(s3.objects.size).toBe(0)
    expect(counts()).toEqual({ DeleteObjects: 1, DeleteObject: 30 })
  })

  test.each([
    { status: 429, code: 'TooManyRequests' },
    { status: 403, code: 'AccessDenied' },
    { status: 400, code: 'BadDigest' },
  ])('stays with one call for many after $status $code, which passes', async (fault) => {
    s3.fail('DeleteObjects', fault)
    expect(await store.deleteMany?.(keys)).toHaveLength(30)
    s3.heal()
    expect(await store.deleteMany?.(keys)).toEqual([])
    expect(counts().DeleteObject).toBeUndefined()
  })

  test('answers which ones are left, and why', async () => {
    s3.fail('DeleteObjects', 'keep one', 1)
    expect(await store.deleteMany?.(keys)).toEqual([{ key: keys[0], error: expect.any(StoreError) }])
    s3.fail('DeleteObjects', { status: 503, code: 'SlowDown' })
    const failures = (await store.deleteMany?.(keys.slice(0, 2))) ?? []
    expect(failures.map(({ key }) => key)).toEqual(keys.slice(0, 2))
    expect(counts().DeleteObject).toBeUndefined()
    expect([...s3.objects.keys()]).toEqual([`images/${keys[0]}`])
  })

  test('goes on after one failure, and is content when the first try had done it', async () => {
    s3.fail('DeleteObject', 'lose the answer', 1)
    await store.delete(keys[0] ?? '')
    expect(counts()).toEqual({ DeleteObject: 2 })
  })
})

describe('readiness', () => {
  test.each(['hang', { status: 403, code: 'Forbidden' }, { status: 500, code: 'InternalError' }] as Fault[])(
    'is refused soon: %j',
    async (fault) => {
      s3.fail('HeadBucket', fault)
      const begun = performance.now()
      await expect(store.check()).rejects.toThrow(StoreError)
      expect(performance.now() - begun).toBeLessThan(7000)
    },
  )
})

describe('a start', () => {
  test.each([
    { fault: 'hang', says: /^S3_ENDPOINT: .* does not answer in time/ },
    { fault: 'reset', says: /^S3_ENDPOINT: / },
    { fault: 'no S3', says: /^S3_ENDPOINT: .* does not speak S3/ },
    { fault: { status: 404, code: 'NotFound' }, says: /^S3_ENDPOINT: / },
    { fault: { status: 500, code: 'InternalError' }, says: /^S3_ENDPOINT: .*refuses to list.*InternalError/ },
    { fault: { status: 403, code: 'RequestTimeTooSkewed' }, says: /clock/ },
    { fault: { status: 301, code: 'PermanentRedirect' }, says: /^S3_REGION: / },
    { fault: { status: 400, code: 'AuthorizationHeaderMalformed' }, says: /^S3_REGION: / },
    { fault: { status: 403, code: 'InvalidAccessKeyId' }, says: /^S3_ACCESS_KEY_ID: .*does not know/ },
    { fault: { status: 403, code: 'SignatureDoesNotMatch' }, says: /^S3_SECRET_ACCESS_KEY: / },
  ] as { fault: Fault; says: RegExp }[])('that meets $fault says what to change', async ({ fault, says }) => {
    s3.fail('ListObjectsV2', fault)
    const failure = await open({ timeout: 1 }).catch((error) => error)
    expect(failure).toBeInstanceOf(StoreError)
    expect(failure.message).toMatch(says)
    expect(failure.message).not.toContain('very-secret')
  })

  test.each([
    { operation: 'ListObjectsV2', may: /may not list the bucket/ },
    { operation: 'PutObject', may: /may not write to the bucket/ },
    { operation: 'GetObject', may: /may not read from the bucket/ },
    { operation: 'DeleteObject', may: /may not delete from the bucket/ },
  ] as const)('with a key that is denied $operation says so', async ({ operation, may }) => {
    s3.fail(operation, { status: 403, code: 'AccessDenied' }, 1)
    await expect(open()).rejects.toThrow(may)
    // What it tried out is not left behind.
    expect([...s3.objects.keys()]).toEqual([])
  })

  test('with a key that may not make the bucket says so', async () => {
    s3.fail('ListObjectsV2', { status: 404, code: 'NoSuchBucket' })
    s3.fail('CreateBucket', { status: 403, code: 'AccessDenied' })
    await expect(open()).rejects.toThrow(/may not make the bucket/)
    await expect(open({ createBucket: false })).rejects.toThrow(/^S3_BUCKET: /)
  })

  test('on a server that changes bytes ends there', async () => {
    s3.fail('GetObject', 'wrong bytes')
    await expect(open()).rejects.toThrow(/gives back other bytes/)
  })

  test('survives a server that fails once at every step', async () => {
    for (const operation of ['ListObjectsV2', 'PutObject', 'GetObject', 'DeleteObject'] as const)
      s3.fail(operation, { status: 503, code: 'SlowDown' }, 1)
    await (await open()).close()
    expect([...s3.objects.keys()]).toEqual([])
  })

  describe('and the lifecycle rule', () => {
    const rule = (days: number) =>
      '<LifecycleConfiguration><Rule><ID>layover images/</ID><Status>Enabled</Status><Filter><Prefix>images/</Prefix>' +
      `</Filter><Expiration><Days>${days}</Days></Expiration></Rule></LifecycleConfiguration>`

    test.each(['GetBucketLifecycle', 'PutBucketLifecycle'] as const)(
      'goes on without it where the server refuses %s, and says so',
      async (operation) => {
        s3.lifecycle = undefined
        s3.fail(operation, { status: 501, code: 'NotImplemented' })
        await (await open()).close()
        expect(notes).toEqual([expect.stringMatching(/no lifecycle rule is set.*NotImplemented/)])
      },
    )

    test('is looked for again when that fails in passing, and a rule that is too short made longer', async () => {
      s3.lifecycle = rule(2)
      s3.fail('GetBucketLifecycle', { status: 503, code: 'SlowDown' }, 1)
      s3.fail('PutBucketLifecycle', 'reset', 1)
      await (await open()).close()
      expect(s3.lifecycle).toContain('<Days>4</Days>')
      s3.fail('GetBucketLifecycle', { status: 503, code: 'SlowDown' })
      await expect(open()).rejects.toThrow(/lifecycle rules/)
    })

    test('is not set beside rules that would lose something by it', async () => {
      const theirs = rule(9)
        .replace('layover images/', 'theirs')
        .replace('</Expiration>', '<New>true</New></Expiration>')
      s3.lifecycle = theirs
      await (await open()).close()
      expect(s3.lifecycle).toBe(theirs)
      expect(notes).toEqual([expect.stringMatching(/rules of its own with <New>/)])
    })

    test('does not go on where an older rule of ours would delete too early and cannot be changed', async () => {
      s3.lifecycle = rule(2)
      s3.fail('PutBucketLifecycle', { status: 403, code: 'AccessDenied' })
      await expect(open()).rejects.toThrow(/^MAX_LIFETIME: .*layover images\//)
      s3.lifecycle = rule(4)
      await (await open()).close()
      expect(notes).toEqual([])
    })
  })
})

describe('readers that stall', () => {
  const large = bytesOf(1024 ** 2)
  const key = aKey()
  const openStalled = async () => {
    const { body } = await store.open(key)
    // A reader that takes one piece.
    await new Promise((resolve) => body.once('readable', resolve))
    body.read()
    return body
  }

  test('keep nobody else from an image, however many they are, and get theirs whole when they go on', async () => {
    s3.objects.set(`images/${key}`, { bytes: large, headers: {} })
    store = await open({ timeout: 20 })
    // As many as there are connections.
    const stalled = await Promise.all(Array.from({ length: 256 }, openStalled))
    expect((await buffer((await store.open(key)).body)).equals(large)).toBe(true)
    const rest = await buffer(stalled[0] as Readable)
    expect(rest.equals(large.subarray(large.length - rest.length))).toBe(true)
    for (const body of stalled) body.destroy()
  })

  test('keep their connection where there are others', async () => {
    s3.objects.set(`images/${key}`, { bytes: large, headers: {} })
    const body = await openStalled()
    // Longer than one may stall where there are many.
    await new Promise((resolve) => setTimeout(resolve, 3500))
    await buffer(body)
    expect(counts()).toMatchObject({ GetObject: 1 })
  })

  test('leave their connection to the next once they have read to the end', async () => {
    s3.objects.set(`images/${key}`, { bytes: large, headers: {} })
    const before = s3.connections
    for (let time = 0; time < 5; time += 1) await buffer((await store.open(key)).body)
    expect(s3.connections - before).toBeLessThan(3)
  })
})
