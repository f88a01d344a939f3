import type { IncomingMessage } from 'node:http'
import { GetObjectCommand, HeadBucketCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { OutputBudget } from '../core/output-budget.ts'
import { ObjectStream } from '../storage/s3/object-stream.ts'
import { abortable } from './abortable.ts'
import { arriving } from './s3/body.ts'
import { type Abilities, type Bucket, keepsVersions, openBucket } from './s3/bucket.ts'
import { call } from './s3/calls.ts'
import { type S3Connection, s3Client } from './s3/client.ts'
import { deleter } from './s3/delete.ts'
import { failureOf } from './s3/failures.ts'
import { type Backstop, setBackstop } from './s3/lifecycle.ts'
import { lister } from './s3/list.ts'
import { type ObjectHeaders, putter } from './s3/put.ts'
import { ObjectNotFound, type OpenOptions, type Store, StoreError } from './store.ts'

/** Connections for calls that end by themselves. */
const CALLS = 64
/**
 * Connections for downloads. Each lasts as long as its reader takes, so they must not hold up the
 * calls. Above half, a reader that stalls loses its own.
 */
const DOWNLOADS = 256
/** Milliseconds for readiness: whoever asks has little patience. */
const CHECK_LIMIT = 5000

export interface S3StoreOptions extends S3Connection {
  readonly bucket: string
  /** What the keys of all images begin with. */
  readonly prefix: string
  /** Whether to make the bucket if it is missing. */
  readonly createBucket: boolean
  /** Seconds for a call with all its attempts, and for starting. */
  readonly timeout: number
  /** None to leave the bucket's lifecycle rules as they are. */
  readonly backstop?: Backstop | undefined
  readonly headersOf: (key: string) => ObjectHeaders
  /** Told what an operator may want to know or change. */
  readonly onNote: (note: string) => void
  /** Counts what is held for readers. */
  readonly budget?: OutputBudget | undefined
}

/**
 * Images as objects of an S3-compatible server, of which no more is asked than what all of them know.
 *
 * Rejects at once, with what to do, if the bucket cannot be used.
 */
export async function openS3Store(options: S3StoreOptions): Promise<Store> {
  const { prefix, headersOf, onNote, budget = new OutputBudget() } = options
  const limit = options.timeout * 1000
  // A silent attempt leaves time for another.
  const client = s3Client(options, { maxSockets: CALLS, silence: limit / 2 })
  const downloads = s3Client(options, { maxSockets: DOWNLOADS, silence: 0 })
  const bucket: Bucket = { client, name: options.bucket, prefix }
  const object = (key: string) => ({ Bucket: bucket.name, Key: prefix + key })
  const headBucket = (abortSignal: AbortSignal) =>
    client.send(new HeadBucketCommand({ Bucket: bucket.name }), { abortSignal })

  async function disconnect() {
    client.destroy()
    downloads.destroy()
  }

  const list = lister({ bucket, limit, onNote })
  const abilities = await prepare(bucket, list, options).catch(async (error) => {
    await disconnect()
    throw error
  })
  const { put, close: closePut } = putter({ bucket, abilities, limit, headersOf })

  /** Downloads that have a connection, or wait for one. */
  let downloading = 0

  /** Begins one download; `size` is the whole object's. */
  async function download(key: string, range: OpenOptions['range'], signal: AbortSignal | undefined) {
    const Range = range && `bytes=${range.start}-${range.end}`
    const get = (abortSignal: AbortSignal) =>
      downloads.send(new GetObjectCommand({ ...object(key), Range }), { abortSignal }).catch((error) => {
        throw failureOf(error).code === 'NoSuchKey' ? new ObjectNotFound(key) : error
      })
    downloading += 1
    try {
      const answer = await call('read an image', get, { limit, signal })
      const body = answer.Body as unknown as IncomingMessage
      const size = Number(range ? answer.ContentRange?.split('/')[1] : answer.ContentLength)
      if (Number.isNaN(size)) {
        body.destroy()
        throw unsized()
      }
      downloading += 1
      return {
        size,
        body: arriving(body, limit).once('close', () => {
          downloading -= 1
        }),
      }
    } finally {
      downloading -= 1
    }
  }

  return {
    digest: 'md5',
    put,

    async stat(key) {
      const head = async (abortSignal: AbortSignal) => {
        try {
          const command = new HeadObjectCommand(object(key))
          const { ContentLength: size } = await client.send(command, { abortSignal })
          if (size === undefined) throw unsized()
          return { size }
        } catch (error) {
          if (failureOf(error).status !== 404) throw error
          // An answer without a body cannot say what is missing: it might be the bucket.
          await headBucket(abortSignal)
          throw new ObjectNotFound(key)
        }
      }
      return call('look for an image', head, { limit })
    },

    async open(key, { range, signal } = {}) {
      signal?.throwIfAborted()
      const { size, body } = await download(key, range, signal)
      const { start, end } = range ?? { start: 0, end: size - 1 }
      const stream = new ObjectStream({
        first: body,
        length: end - start + 1,
        reopen: async (from) => (await download(key, { start: start + from, end }, signal)).body,
        isCrowded: () => downloading > DOWNLOADS / 2,
        budget,
      })
      return { size, body: abortable(stream, signal) }
    },

    ...deleter({ bucket, limit, onNote }),
    list,

    async check() {
      await call('reach the bucket', headBucket, { limit: CHECK_LIMIT })
    },

    async close() {
      await closePut()
      await disconnect()
    },
  }
}

const unsized = () => new StoreError('the store does not say how long an image is')

async function prepare(
  bucket: Bucket,
  list: Store['list'],
  { createBucket, endpoint, timeout, backstop, onNote }: S3StoreOptions,
): Promise<Abilities> {
  const signal = AbortSignal.timeout(timeout * 1000)
  const abilities = await openBucket(bucket, { create: createBucket, endpoint: endpoint ?? 'AWS', signal })
  if (await keepsVersions(bucket, signal))
    onNote(
      'the bucket keeps versions: deleted images take up space until a rule of yours removes old versions',
    )
  const note = backstop && (await setBackstop({ ...backstop, bucket, list, signal }))
  if (note !== undefined) onNote(note)
  return abilities
}
