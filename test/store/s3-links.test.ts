import { randomUUID } from 'node:crypto'
import { text } from 'node:stream/consumers'
import {
  CreateBucketCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openIncomingArea } from '../../src/open-store.ts'
import type { IncomingArea } from '../../src/store/store.ts'
import { bucketPrefix, removeBuckets, s3ClientOf, variablesOf } from '../support/place.ts'
import type { S3Access, S3Guest } from '../support/s3-servers.ts'
import { aKey } from '../support/staged.ts'
import { tempSpool } from '../support/temp-folder.ts'

/** Links to upload to, on a real server, which is told by the project (`vitest.config.ts`). */
const { guest, ...access } = JSON.parse(inject('s3')) as S3Access & { guest?: S3Guest }
const client = s3ClientOf(access)
const run = randomUUID().slice(0, 8)
let folder: Awaited<ReturnType<typeof tempSpool>>
beforeAll(async () => {
  folder = await tempSpool()
})
afterAll(async () => {
  await removeBuckets(access, bucketPrefix(run))
  client.destroy()
  await folder[Symbol.asyncDispose]()
})

let bucket: string
let notes: string[]
let opened: IncomingArea[]
beforeEach(async () => {
  ;[bucket, notes, opened] = [`${bucketPrefix(run)}${randomUUID().slice(0, 8)}`, [], []]
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
})
afterEach(async () => {
  for (const { store } of opened) await store.close()
})

async function open(env: Record<string, string> = {}): Promise<IncomingArea> {
  const config = loadConfig({ STORE: 's3', S3_BUCKET: bucket, ...variablesOf(access), ...env })
  const area = await openIncomingArea({ config, spool: folder.spool, onNote: (note) => notes.push(note) })
  if (area === undefined) return expect.unreachable('there is no area')
  opened.push(area)
  return area
}

const upload = (key = aKey()) => ({ key, contentType: 'image/png', size: 7, seconds: 60 })

async function send(url: string | undefined, headers: Record<string, string> = {}) {
  if (url === undefined) return expect.unreachable('there is no link')
  const all = { 'content-type': 'image/png', ...headers }
  return (await fetch(url, { method: 'PUT', body: 'layover', headers: all })).status
}

async function allKeys(): Promise<(string | undefined)[]> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  return Contents.map(({ Key }) => Key)
}

async function keys({ store }: IncomingArea): Promise<string[]> {
  return (await Array.fromAsync(store.list())).map(({ key }) => key)
}

test('a start leaves nothing of its trials, and says that a link can be made to copy', async () => {
  const area = await open()
  expect(await keys(area)).toEqual([])
  expect(await allKeys()).toEqual([])
  // Both servers do that. AWS does not.
  expect(notes).toContainEqual(expect.stringContaining('S3_PRESIGN_ACCESS_KEY_ID'))
})

test('a link names the address that clients know, and is signed for it', async () => {
  const known = access.endpoint.replace('127.0.0.1', 'localhost')
  const area = await open({ S3_PRESIGN_ENDPOINT: known })
  const one = upload()
  const link = await area.sign?.(one)
  expect(link).toMatch(new RegExp(`^${known}/${bucket}/incoming/`))
  expect(await send(link)).toBe(200)
  expect(await send(link?.replace('localhost', '127.0.0.1'))).toBe(403)
  expect(await keys(area)).toEqual([one.key])
})

test('a link is for one name, type, size and method', async () => {
  const area = await open()
  const [one, other] = [upload(), aKey()]
  const link = (await area.sign?.(one)) ?? ''
  expect(await send(link.replace(one.key, other))).toBe(403)
  expect(await send(link, { 'content-type': 'image/jpeg' })).toBe(403)
  expect((await fetch(link, { method: 'PUT', body: 'more than 7' })).status).toBe(403)
  for (const method of ['GET', 'DELETE', 'POST'])
    expect((await fetch(link, { method })).status, method).toBeGreaterThanOrEqual(400)
  expect(await keys(area)).toEqual([])
})

test('with off there are no links, and names can be barred all the same', async () => {
  const area = await open({ S3_PRESIGN_ENDPOINT: 'off' })
  expect(area.sign).toBeUndefined()
  expect(notes).toEqual([])
})

test('a key for links that the store does not take ends the start, with its name', async () => {
  const start = open({ S3_PRESIGN_ACCESS_KEY_ID: 'unknown', S3_PRESIGN_SECRET_ACCESS_KEY: 'very-secret-key' })
  const failure = await start.catch((error) => error)
  expect(failure.message).toMatch(/^S3_PRESIGN_ACCESS_KEY_ID: .*403/)
  expect(failure.message).not.toContain('very-secret')
})

// Elsewhere no such key can be made here.
if (guest !== undefined)
  describe('with a key that may only put objects below incoming/', () => {
    const key = {
      S3_PRESIGN_ACCESS_KEY_ID: guest.accessKeyId,
      S3_PRESIGN_SECRET_ACCESS_KEY: guest.secretAccessKey,
    }

    beforeEach(async () => {
      const Resource = `arn:aws:s3:::${bucket}/incoming/*`
      // To RGW, an object belongs to whoever put it, so the bucket's owner needs the right to read it, too.
      const rights = { [guest.principal]: 's3:PutObject', 'arn:aws:iam:::user/layover': 's3:GetObject' }
      const Statement = Object.entries(rights).map(([principal, Action]) => {
        return { Effect: 'Allow', Principal: { AWS: [principal] }, Action, Resource }
      })
      const Policy = JSON.stringify({ Version: '2012-10-17', Statement })
      await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy }))
    })

    test('links work, and cannot be made to copy anything', async () => {
      const area = await open(key)
      expect(notes).toEqual([])
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'images/private', Body: 'private' }))
      const one = upload()
      const link = await area.sign?.(one)
      expect(await send(link, { 'x-amz-copy-source': `/${bucket}/images/private` })).toBe(403)
      expect(await keys(area)).toEqual([])
      expect(await send(link)).toBe(200)
      expect(await keys(area)).toEqual([one.key])
      expect(await text((await area.store.open(one.key)).body)).toBe('layover')
      await area.store.delete(one.key)
      expect(await allKeys()).toEqual(['images/private'])
    })

    test('a prefix that the key is not for ends the start', async () => {
      await expect(open({ ...key, S3_INCOMING_PREFIX: 'elsewhere/' })).rejects.toThrow(
        /^S3_PRESIGN_ACCESS_KEY_ID: .*elsewhere\/.*403/,
      )
    })
  })
