import type { Format } from '../formats.ts'

/** What a worker is told, as JSON in its first argument. The image comes to its standard input, and the copy from its standard output. */
export interface Job {
  /** The library's main file. */
  readonly sharp: string
  /** What the image is: nothing else will be read. */
  readonly format: Format
  /** What the copy may be, in the order of preference. */
  readonly formats: readonly Format[]
  /** Pixels of the copy's longer side. */
  readonly longest: number
  /** Whether all frames shall be kept. */
  readonly animated: boolean
  readonly strip: boolean
  /** Whether it may be made smaller, or worse, until it has few enough bytes. */
  readonly mayShrink: boolean
  /** Of what is decoded, all frames together. */
  readonly maxPixels: number
  /** Of the copy. */
  readonly maxBytes: number
  readonly exits: typeof EXITS
  /** Id of the process that it works for: when that has gone, so does the worker. */
  readonly parent: number
}

/** What a worker ends with: its exit code says how it went. */
export const EXITS = {
  done: 0,
  /** The image cannot be decoded. */
  damaged: 10,
  /** No size or quality of it is small enough. */
  tooLarge: 11,
  /** It has taken more memory than it may. */
  memory: 12,
  /** The library is there, but cannot be loaded: it was installed for another system, or in part. */
  library: 13,
} as const
