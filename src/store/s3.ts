import type { IncomingMessage } from 'node:http'
import { GetObjectCommand, HeadBucketCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { abortable } from './abortable.ts'
import { arriving } from './s3/body.ts'
import { type Bucket, keepsVersions, openBucket } from './s3/bucket.ts'
import { call } from './s3/calls.ts'
import { type S3Connection, s3Client } from './s3/client.ts'
import { deleter } from './s3/delete.ts'
import { failureOf } from './s3/failures.ts'
import { type Backstop, setBackstop } from './s3/lifecycle.ts'
import { lister } from './s3/list.ts'
import { type ObjectHeaders, putter } from './s3/put.ts'
import { ObjectNotFound, type Store, StoreError } from './store.ts'

/** Connections for calls that end by themselves. */
const CALLS = 64
/** Connections for downloads. Each lasts as long as its reader takes, so they must not hold up the calls. */
const DOWNLOADS = 256
/** Milliseconds for which the server may be silent in a call, and in the middle of an image. */
const CALL_SILENCE = 15_000
const BODY_SILENCE = 30_000
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
  readonly backstop: Backstop
  readonly headersOf: (key: string) => ObjectHeaders
  /** Told what an operator may want to know or change. */
  readonly onNote: (note: string) => void
}

/**
 * Images as objects of an S3-compatible server, of which no more is asked than what all of them know.
 *
 * Rejects at once, with what to do, if the bucket cannot be used.
 */
export async function openS3Store(options: S3StoreOptions): Promise<Store> {
  const { prefix, headersOf, onNote } = options
  const limit = options.timeout * 1000
  const client = s3Client(options, { maxSockets: CALLS, silence: CALL_SILENCE })
  const downloads = s3Client(options, { maxSockets: DOWNLOADS, silence: 0 })
  const bucket: Bucket = { client, name: options.bucket, prefix }
  const object = (key: string) => ({ Bucket: bucket.name, Key: prefix + key })
  const headBucket = (abortSignal: AbortSignal) =>
    client.send(new HeadBucketCommand({ Bucket: bucket.name }), { abortSignal })

  async function close() {
    client.destroy()
    downloads.destroy()
  }

  const { etagIsMd5 } = await prepare(bucket, options).catch(async (error) => {
    await close()
    throw error
  })

  return {
    digest: 'md5',
    put: putter({ bucket, limit, etagIsMd5, headersOf }),

    async stat(key) {
      const head = async (abortSignal: AbortSignal) => {
        try {
          const { ContentLength: size = 0 } = await client.send(new HeadObjectCommand(object(key)), {
            abortSignal,
          })
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
      const Range = range && `bytes=${range.start}-${range.end}`
      const get = (abortSignal: AbortSignal) =>
        downloads.send(new GetObjectCommand({ ...object(key), Range }), { abortSignal }).catch((error) => {
          throw failureOf(error).code === 'NoSuchKey' ? new ObjectNotFound(key) : error
        })
      const answer = await call('read an image', get, { limit, signal })
      const body = answer.Body as unknown as IncomingMessage
      const size = Number(range ? answer.ContentRange?.split('/')[1] : answer.ContentLength)
      if (Number.isNaN(size)) {
        body.destroy()
        throw new StoreError('cannot read an image: the store does not say how long it is')
      }
      return { size, body: abortable(arriving(body, BODY_SILENCE), signal) }
    },

    ...deleter({ bucket, limit }),
    list: lister({ bucket, limit, onNote }),

    async check() {
      await call('reach the bucket', headBucket, { limit: CHECK_LIMIT })
    },

    close,
  }
}

async function prepare(
  bucket: Bucket,
  { createBucket, endpoint, timeout, backstop, onNote }: S3StoreOptions,
) {
  const signal = AbortSignal.timeout(timeout * 1000)
  const abilities = await openBucket(bucket, { create: createBucket, endpoint: endpoint ?? 'AWS', signal })
  if (await keepsVersions(bucket, signal))
    onNote(
      'the bucket keeps versions: deleted images take up space until a rule of yours removes old versions',
    )
  const note = await setBackstop(bucket, backstop, signal)
  if (note !== undefined) onNote(note)
  return abilities
}
