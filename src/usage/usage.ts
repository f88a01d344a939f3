/**
 * How much each key has used, and how often something was asked for: what quotas and rate limits
 * are decided by.
 *
 * It knows nothing of HTTP or of images. Any number of processes share one usage: those of a
 * machine through a file (`sqlite.ts`), those of several machines through a Redis (`redis.ts`).
 * `test/usage/contract.ts` is this contract as tests, and both pass it.
 *
 * Promised by both:
 *
 * - A reservation passes if, and only if, what the key used in the window before it, what is
 *   reserved at the time, and its own bytes are together no more than the limit. Of any number of
 *   parallel calls no more pass than fit.
 * - The window rolls: bytes count from the time of their reservation until the window has passed
 *   after the end of the slot that this time is in, so never for less than the window, and for less
 *   than one slot more. `slots.ts` has the slots.
 * - A call costs the same however many uploads there were and however many reservations are open,
 *   also one that is refused: a key has at most some 290 slots, and 61 sums of open reservations
 *   for each length of hold. Each open reservation is found by its id alone; what nobody needs any
 *   more is forgotten a few at a time.
 * - A reservation that is neither settled nor released counts for its hold, and less than 1/60 of
 *   it more (or a second).
 * - `now` is the caller's clock. One that jumps back frees nothing early; one that jumps ahead may,
 *   and that stays free.
 * - The window may be another at the next start, as slots know when they end. What is older than
 *   the window is forgotten as it is met, so a longer window begins with what the shorter one still
 *   held.
 * - It fails closed: whatever goes wrong is a rejection with a `UsageError`, never a reservation
 *   that was not made.
 *
 * Not promised: that a reservation whose call rejects was not made (it may count until its hold is
 * over), and that a limit holds when a reservation is settled after its hold. Such bytes are there,
 * so they count, though others had their room.
 */
export interface Usage {
  /** Takes bytes out of a key's quota before they are stored, if it has so many left. */
  reserve(request: ReserveRequest): Promise<Reservation | Exceeded>

  /**
   * Counts the reservation as used, from its own time on, for the window, even if its hold is over. Idempotent, and does
   * nothing if it was released.
   */
  settle(reservation: Reservation): Promise<void>

  /** Gives the reservation's bytes back. Idempotent, and does nothing if it was settled. */
  release(reservation: Reservation): Promise<void>

  /** What a key has used; changes nothing. `window` in seconds, `now` in Unix ms. */
  read(request: { key: string; window: number; now: number }): Promise<KeyUsage>

  /**
   * One more request under a name in a fixed window, which begins at a whole multiple of its length; for rate limits. `window`
   * and `now` in ms. Answers how many there are in this window, this one included, and the ms until it ends. A clock that
   * jumps into another window begins anew there.
   */
  count(request: { name: string; window: number; now: number }): Promise<{ count: number; endsIn: number }>

  /** Cheap proof that it works, for readiness. Rejects with the reason if not. */
  check(): Promise<void>

  /** Frees handles and connections; idempotent. Whatever is called afterwards rejects. */
  close(): Promise<void>
}

/** How much a key may use. */
export interface Quota {
  /** Bytes; 0 for any number. */
  readonly limit: number
  /** Seconds. */
  readonly window: number
  /** Seconds after which an upload whose process was killed no longer counts. */
  readonly hold: number
}

export interface ReserveRequest {
  /** Whose quota. */
  readonly key: string
  readonly bytes: number
  /** Bytes that the key may use within any window. */
  readonly limit: number
  /** Seconds. */
  readonly window: number
  /**
   * Seconds after which a reservation that is neither settled nor released no longer counts. Few
   * different ones.
   */
  readonly hold: number
  /** Unix ms. */
  readonly now: number
  /**
   * Who knows this can settle and release it. One that no reservation had before; without it, a
   * random one.
   */
  readonly id?: string
}

/** Bytes that are taken out of a key's quota. */
export interface Reservation {
  readonly granted: true
  readonly key: string
  readonly id: string
  readonly bytes: number
}

/** The bytes are more than the key has left; nothing was reserved. */
export interface Exceeded {
  readonly granted: false
  /** Bytes used, and bytes reserved by uploads that are under way. */
  readonly used: number
  readonly reserved: number
  readonly limit: number
  /**
   * Seconds until so many bytes are free, whether what is under way is stored or given up; the
   * whole window for more bytes than the limit, which never fit. At least 1.
   */
  readonly retryAfter: number
}

export interface KeyUsage {
  /** Bytes used in the window. */
  readonly used: number
  /** Bytes reserved by uploads that are under way. */
  readonly reserved: number
  /** When some of the used bytes are free again, in Unix ms; none if nothing is used. */
  readonly freeAt?: number
}

/** Usage could not be read or written; `cause` says how. */
export class UsageError extends Error {
  override name = 'UsageError'
}
