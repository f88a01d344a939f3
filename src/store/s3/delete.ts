import { DeleteObjectCommand, DeleteObjectsCommand } from '@aws-sdk/client-s3'
import { type DeleteFailure, StoreError } from '../store.ts'
import type { Bucket } from './bucket.ts'
import { call } from './calls.ts'
import { failureOf, isPassing } from './failures.ts'

/** Single deletes under way at once. */
const CONCURRENCY = 16

export interface DeleteOptions {
  readonly bucket: Bucket
  /** Milliseconds for each call. */
  readonly limit: number
  /** Told once if images have to be deleted one by one. */
  readonly onNote: (note: string) => void
}

/** `delete` and `deleteMany` of the S3 store: many in one call where the server knows how, else one by one. */
export function deleter({ bucket, limit, onNote }: DeleteOptions) {
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

  return {
    delete: one,

    async deleteMany(keys: readonly string[]): Promise<DeleteFailure[]> {
      if (!takesMany || keys.length === 1) return oneByOne(keys)
      try {
        return await together(keys)
      } catch (error) {
        const { cause } = error as Error
        if (!isUnknownCall(cause)) return keys.map((key) => ({ key, error: error as Error }))
        takesMany = false
        onNote(
          `the store cannot delete many images in one call (${failureOf(cause).code}): it is one call for each`,
        )
        return oneByOne(keys)
      }
    },
  }
}

/** Whether a server does not know the call, or wants it signed in another way. */
function isUnknownCall(error: unknown): boolean {
  return [400, 405, 501].includes(failureOf(error).status ?? 0) && !isPassing(error)
}
