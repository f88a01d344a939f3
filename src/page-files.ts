import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** A file of the pages, as it is sent. */
export interface PageFile {
  readonly type: string
  readonly bytes: Buffer
  /** The same for those that take gzip; made when it is first wanted, and not at each start. */
  readonly gzipped: Buffer
  /** Strong, with its quotes. */
  readonly etag: string
  /** That of the gzipped bytes, which is another, as they are others (RFC 9110, section 8.8.3.3). */
  readonly gzippedEtag: string
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Reads the files that browsers get, by name: all of them, as nothing else can be asked for then. */
export function readPageFiles(folder = join(import.meta.dirname, 'page')): ReadonlyMap<string, PageFile> {
  const names = readdirSync(folder).filter((name) => TYPES[extname(name)] !== undefined)
  return new Map(
    names.map((name) => [name, pageFile(TYPES[extname(name)] ?? '', readFileSync(join(folder, name)))]),
  )
}

/** What is sent of a file, or of a page that was put together. */
export function pageFile(type: string, bytes: Buffer): PageFile {
  const digest = createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
  let gzipped: Buffer | undefined
  return {
    ...{ type, bytes, etag: `"${digest}"`, gzippedEtag: `"${digest}-gzip"` },
    get gzipped() {
      gzipped ??= gzipSync(bytes, { level: 9 })
      return gzipped
    },
  }
}
