import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ImageName, makeName } from '../src/name.ts'
import { shardOf } from '../src/store/shards.ts'
import { pngOfSize, sha256 } from '../test/support/images.ts'

/** Images that all contestants on a file system serve. */
export interface Gallery {
  /** By size in bytes; all of a size have one content of several. */
  of(size: number): { readonly names: readonly ImageName[]; hashOf(name: ImageName): string }
}

/**
 * Bytes of the images of one size, together. Asked for in turn, they are more than any cache that a server has by default, so that each is
 * asked for as if it were the first time.
 */
const TOTAL = 2 * 1024 ** 3
/** Contents of a size: more than the processor's own caches hold. What comes beyond has another's content under its own name. */
const CONTENTS_TOTAL = 64 * 1024 ** 2
const LIFETIME = 72 * 3600

/** Puts images of each size into a folder, for static servers, and into Layover's own folders. */
export function makeGallery(folder: string, images: string, sizes: readonly number[]): Gallery {
  mkdirSync(folder, { recursive: true })
  const bySize = new Map(sizes.map((size) => [size, makeImages(folder, images, size)]))
  return {
    of(size) {
      const found = bySize.get(size)
      if (found === undefined) throw new Error(`there is no image of ${size} bytes`)
      return found
    },
  }
}

function makeImages(folder: string, images: string, size: number) {
  const created = Math.floor(Date.now() / 1000)
  const contents = Math.ceil(CONTENTS_TOTAL / size)
  const facts = { created, expires: created + LIFETIME, format: 'png', keyId: 'bench' } as const
  const secret = randomBytes(32)
  const hashes = new Map<string, string>()
  const names = Array.from({ length: Math.ceil(TOTAL / size) }, () => makeName({ ...facts, secret }))
  for (const [i, { text }] of names.entries()) {
    const path = join(folder, text)
    const original = names[i % contents]?.text ?? text
    if (i < contents) {
      const bytes = contentOf(size, i)
      writeFileSync(path, bytes)
      hashes.set(text, sha256(bytes))
    } else {
      linkSync(join(folder, original), path)
      hashes.set(text, hashes.get(original) ?? '')
    }
    const shard = join(images, shardOf(text))
    mkdirSync(shard, { recursive: true })
    linkSync(path, join(shard, text))
  }
  return { names, hashOf: ({ text }: ImageName) => hashes.get(text) ?? '' }
}

function contentOf(size: number, number: number): Buffer {
  const bytes = pngOfSize(size)
  // Beyond the PNG's own bytes.
  bytes.writeUInt32BE(number, size - 4)
  return bytes
}
