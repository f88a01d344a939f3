import { firstLiveKey, type ImageName, isOwner, parseName } from './name.ts'
import type { Store } from './store/store.ts'

export interface OwnImage {
  readonly name: ImageName
  /** Bytes. */
  readonly size: number
}

export interface ListOwnOptions {
  readonly keyId: string
  readonly secret: Buffer
  readonly limit: number
  /** The last image of the page before; none for the first page. */
  readonly after?: ImageName | undefined
  /** Unix milliseconds. */
  readonly now: number
  /** Ends the reading. */
  readonly signal: AbortSignal
}

/**
 * A page of the live images that a key uploaded, the newest first.
 *
 * There is no index by owner: each page reads the names of all images that are stored, whoever's they are, and holds a page of them. Most were made
 * in the order in which they expire, so that the last ones fill it, and of the others little more than the time is looked at.
 */
export async function listOwn(
  store: Store,
  { keyId, secret, limit, after, now, signal }: ListOwnOptions,
): Promise<{ images: OwnImage[]; hasMore: boolean }> {
  const firstLive = firstLiveKey(now)
  // One more than the page, which tells whether there is another.
  const newest: OwnImage[] = []
  const wanted = (key: string): boolean => {
    signal.throwIfAborted()
    const name = key < firstLive ? undefined : parseName(key)
    if (name === undefined || (after !== undefined && !isNewer(after, name))) return false
    const last = newest[limit]
    return (last === undefined || isNewer(name, last.name)) && isOwner(name, { keyId, secret })
  }
  for await (const { key, size } of store.list({ wanted, latestFirst: true })) {
    const name = parseName(key)
    if (name === undefined) continue
    const place = newest.findIndex((image) => isNewer(name, image.name))
    newest.splice(place === -1 ? newest.length : place, 0, { name, size })
    newest.length = Math.min(newest.length, limit + 1)
  }
  return { images: newest.slice(0, limit), hasMore: newest.length > limit }
}

/** By the time of upload, and by name within a second, so that no two images are equal. */
function isNewer(a: ImageName, b: ImageName): boolean {
  return a.created === b.created ? a.text > b.text : a.created > b.created
}
