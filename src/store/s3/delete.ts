import { DeleteObjectCommand, DeleteObjectsCommand } from '@aws-sdk/client-s3'
import { type DeleteFailure, StoreError } from '../store.ts'
import type { Bucket } from './bucket.ts'
import { call } from './calls.ts'
import { failureOf } from './failures.ts'

/** The most that one DeleteObjects takes. */
const MOST = 1000
/** Single deletes under way at once. */
const CONCURRENCY = 16

export interface DeleteOptions {
  readonly bucket: Bucket
  /** Milliseconds for each call. */
  readonly limit: number
}

/** `delete` and `deleteMany` of the S3 store: a thousand in one call where the server knows how, else one by one. */
export function deleter({ bucket, limit }: DeleteOptions) {
  const { client, name, prefix } = bucket
  let takesMany = true

  async function one(key: string): Promise<void> {
    const command = new DeleteObjectCommand({ Bucket: name, Key: prefix + key })
    await call('delete an image', (abortSignal) => client.send(command, { abortSignal }), { limit })
  }

  async function oneByOne(keys: readonly string[]): Promise<DeleteFailure[]> {
    const failures: DeleteFailure[] = []
    const rest = keys.values()
    const inTurn = async () => {
      for (const key of rest) await one(key).catch((error) => failures.push({ key, error }))
    }
    await Promise.all(Array.from({ length: CONCURRENCY }, inTurn))
    return failures
  }

  async function together(keys: readonly string[]): Promise<DeleteFailure[]> {
    const Objects = keys.map((key) => ({ Key: prefix + key }))
    const command = new DeleteObjectsCommand({ Bucket: name, Delete: { Objects, Quiet: true } })
    const send = (abortSignal: AbortSignal) => client.send(command, { abortSignal })
    const { Errors = [] } = await call('delete images', send, { limit })
    return Errors.map(({ Key = '', Code }) => ({
      key: Key.slice(prefix.length),
      error: new StoreError(`cannot delete an image (${Code})`),
    }))
  }

  async function atMost(keys: readonly string[]): Promise<DeleteFailure[]> {
    if (!takesMany || keys.length === 1) return oneByOne(keys)
    try {
      return await together(keys)
    } catch (error) {
      const { status = 500 } = failureOf((error as Error).cause)
      if (status >= 500 && status !== 501) return keys.map((key) => ({ key, error: error as Error }))
      // A server that does not know the call, or wants it signed in another way.
      takesMany = false
      return oneByOne(keys)
    }
  }

  return {
    delete: one,
    async deleteMany(keys: readonly string[]): Promise<DeleteFailure[]> {
      const failures: DeleteFailure[] = []
      for (let i = 0; i < keys.length; i += MOST) failures.push(...(await atMost(keys.slice(i, i + MOST))))
      return failures
    },
  }
}
