import { isKey } from './store.ts'

/** Leading characters that share a folder: 1024 seconds of expiry, so no folder grows with the total. */
const WIDTH = 5
/** Images that never expire share their first seven characters, so they are told apart by their time of creation. */
const NEVER = 'zzzzzzz'

const SHARD = new RegExp(`^(?:[0-9a-z]{${WIDTH}}|${NEVER}[0-9a-z]{${WIDTH}})$`)

/** The folder of a key. Throws on what is no image's name, before it can become part of a path. */
export function shardOf(key: string): string {
  if (!isKey(key)) throw new TypeError('not an image name')
  return key.slice(0, key.startsWith(NEVER) ? NEVER.length + WIDTH : WIDTH)
}

/** Whether a name in the root can be that of a folder of images. Their order is that of the keys in them. */
export function isShard(name: string): boolean {
  return SHARD.test(name)
}

/** Whether a name in a shard can be that of an image. */
export function belongsIn(shard: string, name: string): boolean {
  return isKey(name) && shardOf(name) === shard
}
