import { Readable } from 'node:stream'
import { DeleteObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { type PutOptions as KeptOptions, ObjectExists, type StagedBytes, StoreError } from '../store.ts'
import { bodyOf } from './body.ts'
import type { Abilities, Bucket } from './bucket.ts'
import { call } from './calls.ts'
import { failureOf, mayHaveHappened, WrongBytes } from './failures.ts'

/** Milliseconds for taking back what a failed upload may have left. */
const UNDO_LIMIT = 5000
/** Milliseconds for the answer to an upload whose client has left when all of it had been sent. */
const FAREWELL = 5000
/** Milliseconds after which what failed is taken back once more: a server may store what it was sent after it was told to delete it. */
const LATE = 5000

/** What an object is stored with, for those who fetch it from the bucket rather than through us. */
export interface ObjectHeaders {
  readonly contentType: string
  readonly cacheControl: string
  readonly expires?: Date | undefined
}

export interface PutOptions {
  readonly bucket: Bucket
  readonly abilities: Abilities
  /** Milliseconds for all attempts together. */
  readonly limit: number
  readonly headersOf: (key: string) => ObjectHeaders
}

/** The `put` of the S3 store: each attempt opens the staged bytes anew, and what a failed one may have stored is deleted. */
export function putter({ bucket, abilities, limit, headersOf }: PutOptions) {
  const undo = undoer(bucket, abilities)

  return {
    async put(key: string, staged: StagedBytes, { signal, keep }: KeptOptions = {}): Promise<void> {
      signal?.throwIfAborted()
      // What is known of the key: that something of ours may be there, and that it is certainly ours and wrong.
      const state = { mayBeThere: false, isWrong: false }
      const headers = headersOf(key)

      async function once(inTime: AbortSignal): Promise<void> {
        if (signal?.aborted) throw new StoreError('its client has left')
        try {
          await send({ bucket, abilities, key, staged, headers, inTime, leaving: signal })
          if (signal?.aborted) throw new StoreError('its client has left')
        } catch (error) {
          if (failureOf(error).status === 412) {
            if (state.mayBeThere && !state.isWrong && (await undo.isOurs(key, staged, inTime))) return
            throw new ObjectExists(key)
          }
          state.mayBeThere ||= mayHaveHappened(error)
          state.isWrong ||= error instanceof WrongBytes
          // Or the next attempt would find it in its way.
          if (state.isWrong) await undo.now(key)
          throw signal?.aborted ? new StoreError('its client has left', { cause: error }) : error
        }
      }

      try {
        await call('store an image', once, { limit })
      } catch (error) {
        if (state.isWrong) await undo.now(key)
        else if (state.mayBeThere && !keep && !(error instanceof ObjectExists)) await undo.ifOurs(key, staged)
        throw signal?.aborted ? signal.reason : error
      }
    },

    /** Takes back what is still to be taken back. */
    close: undo.close,
  }
}

interface Sending {
  readonly bucket: Bucket
  readonly abilities: Abilities
  readonly key: string
  readonly staged: StagedBytes
  readonly headers: ObjectHeaders
  /** Aborted when the time is up. */
  readonly inTime: AbortSignal
  /** Aborted when the client leaves. */
  readonly leaving: AbortSignal | undefined
}

/** One attempt. Rejects with `WrongBytes` if the server has stored something else, and with whatever the body fails with. */
async function send({ bucket, abilities, key, staged, headers, inTime, leaving }: Sending): Promise<void> {
  const body = bodyOf(staged)
  const given = new AbortController()
  let failure: unknown
  const giveUp = () => given.abort()
  /** A request that is cut when all of it has been sent may be carried out after the delete that is to undo it. */
  const leave = () => {
    const isSent = !(body instanceof Readable) || body.readableEnded
    if (isSent) setTimeout(giveUp, FAREWELL).unref()
    else giveUp()
  }
  // The SDK would wait for ever for a body that has failed.
  if (body instanceof Readable)
    body.once('error', (error) => {
      failure = error
      giveUp()
    })
  inTime.addEventListener('abort', giveUp, { once: true })
  leaving?.addEventListener('abort', leave, { once: true })
  const command = new PutObjectCommand({
    Bucket: bucket.name,
    Key: bucket.prefix + key,
    Body: body,
    ContentLength: staged.size,
    ContentMD5: staged.md5,
    ...storedWith(headers),
    ...(abilities.takesConditions && { IfNoneMatch: '*' }),
  })
  try {
    const answer = await bucket.client.send(command, { abortSignal: given.signal })
    if (!isRight(answer, staged, abilities)) throw new WrongBytes('the store has other bytes than were sent')
  } catch (error) {
    throw failure ?? error
  } finally {
    inTime.removeEventListener('abort', giveUp)
    leaving?.removeEventListener('abort', leave)
    // Answered before all was sent: the connection waits for the rest, and is of no use to anybody.
    if (body instanceof Readable && !body.readableEnded) giveUp()
    if (body instanceof Readable) body.destroy()
  }
}

/** Headers as PutObject takes them. */
export function storedWith({ contentType, cacheControl, expires }: ObjectHeaders) {
  return { ContentType: contentType, CacheControl: cacheControl, Expires: expires }
}

/** Whether an answer is about the bytes that were sent. Where the ETag is no MD5, the server is taken at its word. */
function isRight(
  { ETag }: { ETag?: string | undefined },
  { md5 }: StagedBytes,
  { etagIsMd5 }: Abilities,
): boolean {
  return !etagIsMd5 || md5 === undefined || ETag === `"${Buffer.from(md5, 'base64').toString('hex')}"`
}

/** Takes back what uploads left. What stays after all, the sweeper finds when it expires. */
function undoer({ client, name, prefix }: Bucket, abilities: Abilities) {
  const late = new Map<NodeJS.Timeout, () => Promise<void>>()
  const object = (key: string) => ({ Bucket: name, Key: prefix + key })

  /** Whether the object of that key is what we sent: an attempt has stored it, though its answer was lost. */
  async function isOurs(key: string, staged: StagedBytes, abortSignal: AbortSignal): Promise<boolean> {
    const found = await client.send(new HeadObjectCommand(object(key)), { abortSignal })
    return found.ContentLength === staged.size && isRight(found, staged, abilities)
  }

  async function attempt(key: string, staged?: StagedBytes): Promise<void> {
    const remove = async (abortSignal: AbortSignal) => {
      if (staged !== undefined && !(await isOurs(key, staged, abortSignal))) return
      await client.send(new DeleteObjectCommand(object(key)), { abortSignal })
    }
    await call('take back an image', remove, { limit: UNDO_LIMIT }).catch(() => {})
  }

  return {
    isOurs,

    /** Deletes an object that is certainly ours. */
    now: (key: string) => attempt(key),

    /** Deletes an object if it is what we sent, now and once more a little later. */
    async ifOurs(key: string, staged: StagedBytes): Promise<void> {
      // Its bytes are not ours for that long.
      const { size, md5 } = staged
      const again = () => attempt(key, { size, md5, open: () => Readable.from([]) })
      await again()
      const timer = setTimeout(() => {
        late.delete(timer)
        void again()
      }, LATE).unref()
      late.set(timer, again)
    },

    async close(): Promise<void> {
      for (const timer of late.keys()) clearTimeout(timer)
      await Promise.all([...late.values()].map((again) => again()))
      late.clear()
    },
  }
}
