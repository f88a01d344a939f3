import { problem, problemWith } from './errors.ts'
import { type ImageName, makeName } from './name.ts'
import type { Staged } from './stage.ts'
import type { Store } from './store/store.ts'
import type { Quota, Reservation, Usage } from './usage/usage.ts'

export interface PublishOptions {
  readonly store: Store
  readonly usage: Usage
  readonly quota: Quota
  readonly secret: Buffer
  /** Id of the key that uploads. */
  readonly keyId: string
  /** Seconds from now to expiry; `Infinity` for never. */
  readonly lifetime: number
  /** Unix milliseconds. */
  readonly now: number
  readonly signal?: AbortSignal
}

/**
 * Makes staged images public, each under a name of its own: all of them or none, and in one piece for the quota. Answers with their names, in
 * their order.
 *
 * When it resolves, each is durable, can be read under its name, and counts for its key's quota. Rejects with a `Problem` if
 * the quota does not allow it, with the store's or the usage's error, or with the signal's reason, and then has left nothing.
 */
export async function publish(images: readonly Staged[], options: PublishOptions): Promise<ImageName[]> {
  const { names, keep, undo } = await putTogether(images, options)
  try {
    // What cannot be counted is not kept, nor what nobody will know of.
    options.signal?.throwIfAborted()
    await keep()
    return names
  } catch (error) {
    await undo()
    throw error
  }
}

/**
 * Bytes of a block, as most file systems have them: the smallest image takes one, and an inode
 * besides.
 */
const BLOCK = 4096

/**
 * Bytes that images of these sizes take out of a quota: their own, but each at least a block, or
 * millions of tiny ones would fill a disk within any quota.
 */
export function chargeFor(...sizes: number[]): number {
  return sizes.reduce((sum, size) => sum + Math.max(size, BLOCK), 0)
}

interface Undecided {
  /** Counts its bytes. Rejects with the usage's error. */
  keep(): Promise<void>
  /** Leaves nothing of it; bytes that were counted stay counted. */
  undo(): Promise<void>
}

/** An image that is stored under its name, with its bytes reserved: it is to be kept or undone, of which neither has happened. */
export interface Put extends Undecided {
  readonly name: ImageName
}

/** The first half of `publish`, for those who have several images that are to be kept together. Rejects as it does. */
export async function put(staged: Staged, options: PublishOptions): Promise<Put> {
  const { names, keep, undo } = await putTogether([staged], options)
  return { name: names[0] as ImageName, keep, undo }
}

async function putTogether(
  images: readonly Staged[],
  options: PublishOptions,
): Promise<Undecided & { names: ImageName[] }> {
  const { store, usage, secret, keyId, lifetime, now, signal } = options
  const created = Math.floor(now / 1000)
  const expires = created + lifetime
  const bytes = chargeFor(...images.map(({ size }) => size))
  const names = images.map(({ format }) => makeName({ created, expires, format, keyId, secret }))
  const reservation = await reserve(bytes, options)
  const stored: ImageName[] = []
  const undo = async () => {
    for (const name of stored) await store.delete(name.text).catch(() => {})
    if (reservation) await usage.release(reservation).catch(() => {})
  }
  try {
    for (const [index, name] of names.entries()) {
      await store.put(name.text, images[index] as Staged, signal ? { signal } : {})
      stored.push(name)
    }
  } catch (error) {
    await undo()
    throw error
  }
  const keep = async () => {
    if (reservation) await usage.settle(reservation)
  }
  return { names, keep, undo }
}

/** Takes bytes out of a key's quota, if it has one, before they come. Rejects with a `Problem` if there are too few. */
export async function reserve(
  bytes: number,
  {
    usage,
    quota: { limit, window, hold },
    keyId: key,
    now,
  }: Pick<PublishOptions, 'usage' | 'quota' | 'keyId' | 'now'>,
): Promise<Reservation | undefined> {
  if (limit === 0) return undefined
  if (bytes > limit) throw problem('file_over_quota', { bytes, limit })
  const answer = await usage.reserve({ key, bytes, limit, window, hold, now })
  if (answer.granted) return answer
  const { used, reserved, retryAfter: wait } = answer
  const headers = { 'retry-after': String(wait) }
  throw problemWith('quota_exceeded', { headers }, { limit, used: used + reserved, bytes, wait })
}
