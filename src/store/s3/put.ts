import { Readable } from 'node:stream'
import { DeleteObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { ObjectExists, type StagedBytes } from '../store.ts'
import { bodyOf } from './body.ts'
import type { Bucket } from './bucket.ts'
import { call } from './calls.ts'
import { failureOf, mayHaveHappened, WrongBytes } from './failures.ts'

/** Milliseconds for taking back what a failed upload may have left. */
const UNDO_LIMIT = 5000

/** What an object is stored with, for those who fetch it from the bucket rather than through us. */
export interface ObjectHeaders {
  readonly contentType: string
  readonly cacheControl: string
  readonly expires?: Date | undefined
}

export interface PutOptions {
  readonly bucket: Bucket
  /** Milliseconds for all attempts together. */
  readonly limit: number
  /** Whether an object's ETag is the MD5 of its bytes. */
  readonly etagIsMd5: boolean
  readonly headersOf: (key: string) => ObjectHeaders
}

/** The `put` of the S3 store: each attempt opens the staged bytes anew, and what a failed one may have stored is deleted. */
export function putter({ bucket, limit, etagIsMd5, headersOf }: PutOptions) {
  const { client } = bucket
  const object = (key: string) => ({ Bucket: bucket.name, Key: bucket.prefix + key })
  /** Whether the server heeds If-None-Match, or at least does not mind it. */
  let takesConditions = true

  /** Whether an answer is about the bytes that were sent. Where the ETag is no MD5, the server is taken at its word. */
  function isRight({ ETag }: { ETag?: string | undefined }, { md5 }: StagedBytes): boolean {
    return !etagIsMd5 || md5 === undefined || ETag === `"${Buffer.from(md5, 'base64').toString('hex')}"`
  }

  async function send(key: string, staged: StagedBytes, signal: AbortSignal): Promise<void> {
    const body = bodyOf(staged)
    const broken = new AbortController()
    // The SDK would wait for ever for a body that has failed.
    if (body instanceof Readable) body.once('error', (error) => broken.abort(error))
    const { contentType, cacheControl, expires } = headersOf(key)
    const command = new PutObjectCommand({
      ...object(key),
      Body: body,
      ContentLength: staged.size,
      ContentMD5: staged.md5,
      ContentType: contentType,
      CacheControl: cacheControl,
      Expires: expires,
      ...(takesConditions && { IfNoneMatch: '*' }),
    })
    try {
      const answer = await client.send(command, { abortSignal: AbortSignal.any([signal, broken.signal]) })
      if (!isRight(answer, staged)) throw new WrongBytes('the store has other bytes than were sent')
    } catch (error) {
      throw broken.signal.aborted ? broken.signal.reason : error
    } finally {
      if (body instanceof Readable) body.destroy()
    }
  }

  /** Whether the object that is in the way is what an earlier attempt stored, though its answer was lost. */
  async function isOurs(key: string, staged: StagedBytes, abortSignal: AbortSignal): Promise<boolean> {
    const found = await client.send(new HeadObjectCommand(object(key)), { abortSignal })
    return found.ContentLength === staged.size && isRight(found, staged)
  }

  /** What stays after all, the sweeper finds when it expires. */
  async function undo(key: string): Promise<void> {
    const remove = (abortSignal: AbortSignal) =>
      client.send(new DeleteObjectCommand(object(key)), { abortSignal })
    await call('take back an image', remove, { limit: UNDO_LIMIT }).catch(() => {})
  }

  return async function put(key: string, staged: StagedBytes, { signal }: { signal?: AbortSignal } = {}) {
    signal?.throwIfAborted()
    let mayBeThere = false

    async function once(inTime: AbortSignal, attempt: number): Promise<void> {
      try {
        await send(key, staged, inTime)
      } catch (error) {
        const { status } = failureOf(error)
        if (status === 501 && takesConditions) {
          // The names are random: no server has to look.
          takesConditions = false
          return once(inTime, attempt)
        }
        if (status === 412) {
          if (mayBeThere && (await isOurs(key, staged, inTime))) return
          throw new ObjectExists(key)
        }
        mayBeThere ||= mayHaveHappened(error)
        // Or the next attempt would find it in its way.
        if (error instanceof WrongBytes) await undo(key)
        throw error
      }
    }

    try {
      await call('store an image', once, { signal, limit })
    } catch (error) {
      if (mayBeThere && !(error instanceof ObjectExists)) await undo(key)
      throw error
    }
  }
}
