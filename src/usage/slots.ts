import type { Exceeded, KeyUsage, ReserveRequest } from './usage.ts'

/**
 * Uploads are not remembered one by one but added up in slots of time. A slot is known by its end: none of its bytes are newer
 * than that, so all of them count until the window has passed after it. Slots made for another window are thus as right as
 * before, and two of different widths that end together are one.
 */
export interface Slot {
  /** Unix ms, not included. */
  readonly ends: number
  readonly bytes: number
}

/**
 * A bucket of open reservations (neither settled nor released), added up by the time at which their
 * holds end, as uploads are in slots. Its sum is exact: whoever settles or releases a reservation
 * takes its bytes out again.
 */
export interface Hold {
  /** Unix ms from which on none of them counts. */
  readonly expires: number
  /** None of them is in a slot that ends later, in Unix ms. */
  readonly ends: number
  readonly bytes: number
}

/** All that is kept of a key. */
export interface KeyState {
  readonly slots: readonly Slot[]
  readonly held: readonly Hold[]
}

/** Five minutes of a day: as fine as a client that waits for quota can notice, as few as can be added up on every upload. */
const SLOTS_IN_WINDOW = 288

/**
 * A minute of an hour: as late as room may be free again that nobody gives back, as few as can be
 * added up every time.
 */
const BUCKETS_IN_HOLD = 60

/** Length of the slots of a window (seconds), in ms. */
export function slotWidth(window: number): number {
  return Math.max(1000, Math.ceil((window * 1000) / SLOTS_IN_WINDOW))
}

/** The end of the slot that a time (Unix ms) is in, for a window in seconds. */
export function slotEnd(at: number, window: number): number {
  const width = slotWidth(window)
  return (Math.floor(at / width) + 1) * width
}

/** The end of the last slot that no longer counts at `now` (Unix ms), for a window in seconds. */
export function lastFree(now: number, window: number): number {
  return now - Math.ceil(window * 1000)
}

/** What is kept of a reservation; times in Unix ms. */
export interface Times {
  /** The end of the slot in which it counts once it is settled. */
  readonly slot: number
  /** Its bucket. */
  readonly hold: Omit<Hold, 'bytes'>
  /** From when on nobody needs to know of it, as it counts neither settled nor unsettled. */
  readonly until: number
}

/**
 * The bucket of a reservation ends with its hold, rounded up: so never early, and less than 1/60 of
 * the hold late (or a second).
 */
export function timesOf({ window, hold, now }: Pick<ReserveRequest, 'window' | 'hold' | 'now'>): Times {
  const length = Math.ceil(hold * 1000)
  const width = Math.max(1, Math.ceil(hold / BUCKETS_IN_HOLD)) * 1000
  const expires = Math.ceil((now + length) / width) * width
  const slot = slotEnd(now, window)
  // What all of a bucket have in common, so that they are one: the slot of the last that can be in
  // it.
  const ends = slotEnd(expires - length, window)
  return { slot, hold: { expires, ends }, until: Math.max(expires, slot + Math.ceil(window * 1000)) }
}

/** What counts at `now`, for a window in seconds. */
export function usageOf(state: KeyState, { window, now }: { window: number; now: number }): KeyUsage {
  const { slots, held } = countedOf(state, { window, now })
  const usage = { used: sum(slots), reserved: sum(held) }
  if (slots.length === 0) return usage
  const oldest = Math.min(...slots.map(({ ends }) => ends))
  return { ...usage, freeAt: oldest + Math.ceil(window * 1000) }
}

/** The answer to a request for which too few bytes are left. */
export function exceeded(state: KeyState, { bytes, limit, window, now }: ReserveRequest): Exceeded {
  const { slots, held } = countedOf(state, { window, now })
  const [used, reserved] = [sum(slots), sum(held)]
  const length = Math.ceil(window * 1000)
  const freed = [
    ...slots.map(({ ends, bytes }) => ({ bytes, at: ends + length })),
    ...held.map(({ ends, expires, bytes }) => ({ bytes, at: Math.max(ends + length, expires) })),
  ].sort((a, b) => a.at - b.at)
  let over = used + reserved + bytes - limit
  let at = bytes > limit ? now + length : now
  if (bytes <= limit)
    for (const entry of freed) {
      if (over <= 0) break
      over -= entry.bytes
      at = entry.at
    }
  const retryAfter = Math.max(1, Math.ceil((at - now) / 1000))
  return { granted: false, used, reserved, limit, retryAfter }
}

function countedOf({ slots, held }: KeyState, { window, now }: { window: number; now: number }): KeyState {
  return {
    slots: slots.filter(({ ends }) => ends > lastFree(now, window)),
    held: held.filter(({ expires }) => expires > now),
  }
}

function sum(entries: readonly { readonly bytes: number }[]): number {
  return entries.reduce((total, { bytes }) => total + bytes, 0)
}
