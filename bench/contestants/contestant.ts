import type { ImageName } from '../../src/name.ts'

export const LAYOVER = 'Layover'
export const PLAIN = 'plain Fastify'
export const RAW = 'raw node:http'
export const NGINX = 'nginx'
/** A loop that puts objects into a bucket, without a server. */
export const BARE = 'bare PutObject'

/** A server that is compared with others. Disposing of it ends it. */
export interface Contestant extends AsyncDisposable {
  readonly name: string
  /** Without a trailing slash. */
  readonly url: string
  readonly pid: number
  /** How it takes uploads; none for one that does not. */
  readonly upload?: UploadForm
  /** Path of an image of the gallery; none for one that serves none. */
  readonly pathOf?: (image: ImageName) => string
}

export interface UploadForm {
  readonly method: 'POST' | 'PUT'
  readonly path: string
  /** Whether each upload needs a path of its own, which a number at its end makes. */
  readonly isNumbered: boolean
  readonly headers: Readonly<Record<string, string>>
  /** What is sent for an image. */
  bodyOf(image: Buffer): Buffer
  /** Paths of all files that it has stored. */
  stored(): Promise<string[]>
  read(path: string): Promise<Buffer>
  /** Removes them. */
  clear(): Promise<void>
}

/** What contestants on one file system share. */
export interface Ground {
  /** Of the contestants' own; each makes a folder of its name in it. */
  readonly base: string
  /** Images to serve, each by its name. */
  readonly gallery: string
  /** Whether uploads are made durable. */
  readonly sync: boolean
}
