import type { ImageName } from '../name.ts'

/** That somebody fetched an image, or tried to. */
export interface Receipt {
  /** When the answer had left, or its client had; Unix ms. */
  readonly at: number
  readonly method: 'GET' | 'HEAD'
  /** A known fetcher's id, or `other` (`src/vision/fetchers.ts`). */
  readonly fetcher: string
  /** The network that it came from, `203.0.113.0/24` or `2001:db8:1::/48`, or `unknown`; never the address. */
  readonly network: string
  readonly status: number
  /** Bytes of the image that were sent; of an answer that was broken off, as many as left at most. */
  readonly bytes: number
  /** Whether all of the answer was handed to the network. */
  readonly complete: boolean
  /** Milliseconds from the request's headers to the end of the answer. */
  readonly ms: number
}

/** The receipts of an image. */
export interface Fetches {
  /** Of all that there were, also those that are not kept any more. */
  readonly total: number
  /** The last ones, the newest first. */
  readonly latest: readonly Receipt[]
}

/** Receipts of each image that are kept. */
export const MOST_KEPT = 100

/** Days after the last fetch of an image after which its receipts go, even if it lives on. */
export const DAYS_KEPT = 30

/** Ms for which a deleted image takes no receipts, at most: a process that is still sending it may have one yet. */
export const LONGEST_SENDING = 86_400_000

/** Receipts to be added to an image's. */
export interface Batch {
  readonly name: ImageName
  /** How many there were. */
  readonly count: number
  /** The last of them, the oldest first, at most `MOST_KEPT`. */
  readonly latest: readonly Receipt[]
}

/**
 * Where receipts are kept, for all processes that serve the same images: those of a machine in a file (`sqlite.ts`), those of several
 * machines in a Redis (`redis.ts`). `test/receipts/contract.ts` is this contract as tests, and both pass it.
 *
 * Promised by both:
 *
 * - Of each image the last `MOST_KEPT` receipts are kept, in the order in which they were added, and the number of all.
 * - They are kept until the image expires, and at most `DAYS_KEPT` after the last one was added.
 * - What was forgotten stays so: what comes later for the same image is not kept.
 * - An image is known by a hash of its name: whoever reads what is kept cannot fetch it.
 * - Bytes and time of a call are bounded by what it is given, however many fetches there were.
 *
 * Not promised: that a batch whose call rejects was not added, or that one was added once where the connection broke.
 */
export interface ReceiptStore {
  add(batches: readonly Batch[]): Promise<void>
  read(name: ImageName): Promise<Fetches>
  forget(names: readonly ImageName[], now: number): Promise<void>
  /** Removes what is not to be kept any more, where that does not go by itself; Unix ms. */
  purge(now: number): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}

/** Until when an image's receipts are kept that got the last one at `at`; Unix ms. */
export function keptUntil({ expires }: ImageName, at: number): number {
  return Math.min(expires * 1000, at + DAYS_KEPT * 86_400_000)
}
