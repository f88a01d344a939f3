import type { Format } from '../formats.ts'
import table from './limits.json' with { type: 'json' }

/** What somebody takes of an image. What is missing is not limited. */
export interface Limits {
  /** The most bytes. */
  readonly bytes?: number
  /** Pixels of each side. */
  readonly minSide?: number
  readonly maxSide?: number
  /** Of width × height. */
  readonly maxPixels?: number
  /** The least and the most of width ÷ height. */
  readonly ratio?: readonly [least: number, most: number]
  readonly formats: readonly Format[]
  /** Whether a GIF or WebP may have more than one frame. */
  readonly animated: boolean
}

/** How a row is known: from the API's own documentation, from what it did, or from what others wrote of it. */
export type Basis = 'documented' | 'measured' | 'third-party'

/** One API's limits for one image. */
export interface Api extends Limits {
  /** Small letters, digits and dashes; it stays. */
  readonly id: string
  readonly name: string
  readonly basis: Basis
  readonly source: string
  /** Year and month in which it was looked up. */
  readonly date: string
  /** What no number says. */
  readonly note?: string
}

/** When the table as a whole was last gone through: year and month. */
export const DATED: string = table.dated

/** All APIs that are known, in the table's order. */
export const APIS = table.apis as readonly unknown[] as readonly Api[]

/** The limits of one API; undefined for an unknown id. */
export function apiOf(id: string): Api | undefined {
  return APIS.find((api) => api.id === id)
}
