import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { isKey, type ListOptions, StoreError } from '../store.ts'
import type { Bucket } from './bucket.ts'
import { call } from './calls.ts'

export interface ListerOptions {
  readonly bucket: Bucket
  /** Milliseconds for each page. */
  readonly limit: number
  /** Told once if the server turns out to list in no order. */
  readonly onNote: (note: string) => void
}

/** The `list` of the S3 store: page by page, as far as `before` where the server lists in order, else to the end. */
export function lister({ bucket, limit, onNote }: ListerOptions) {
  const { client, name, prefix } = bucket
  /** Unknown until two pages have been seen one after the other. */
  let inOrder: boolean | undefined

  async function page(start: string, token: string | undefined) {
    const command = new ListObjectsV2Command({ Bucket: name, Prefix: start, ContinuationToken: token })
    const send = (abortSignal: AbortSignal) => client.send(command, { abortSignal })
    const {
      Contents = [],
      IsTruncated,
      NextContinuationToken: next,
    } = await call('list images', send, { limit })
    // Neither for ever, nor as if there were no more.
    if (IsTruncated && (next === undefined || next === token))
      throw new StoreError('cannot list images: the store does not say where the next page begins')
    return { objects: Contents, next: IsTruncated ? next : undefined }
  }

  /** Looks at the order of keys that came one after the other. */
  function learn(keys: readonly string[], isAcrossPages: boolean): void {
    const isSorted = keys.every((key, i) => i === 0 || key > (keys[i - 1] ?? ''))
    if (isSorted && isAcrossPages) inOrder ??= true
    if (isSorted || inOrder === false) return
    inOrder = false
    onNote('the store lists objects in no order, so each sweep reads the whole list')
  }

  return async function* list({ before, startingWith = '', wanted = () => true }: ListOptions = {}) {
    let last: string | undefined
    let token: string | undefined
    do {
      const { objects, next } = await page(prefix + startingWith, token)
      const keys = objects.map(({ Key = '' }) => Key)
      learn(last === undefined ? keys : [last, ...keys], last !== undefined && keys.length > 0)
      last = keys.at(-1) ?? last
      for (const { Key = '', Size: size = 0 } of objects) {
        const key = Key.slice(prefix.length)
        // What else is below the prefix is not ours.
        if (isKey(key) && (before === undefined || key < before) && wanted(key)) yield { key, size }
      }
      const isPast = before !== undefined && last !== undefined && last >= prefix + before
      if (isPast && inOrder === true) return
      token = next
    } while (token !== undefined)
  }
}
