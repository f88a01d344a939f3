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

/** A reservation that is neither settled nor released. */
export interface HeldBytes {
  readonly bytes: number
  /** The end of the slot in which it counts once it is settled. */
  readonly ends: number
  /** Unix ms from which on it no longer counts. */
  readonly expires: number
}

/** All that is kept of a key. */
export interface KeyState {
  readonly slots: readonly Slot[]
  readonly held: readonly HeldBytes[]
}

/** Five minutes of a day: as fine as a client that waits for quota can notice, as few as can be added up on every upload. */
const SLOTS_IN_WINDOW = 288

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
  let over = used + reserved + bytes - limit
  let ends = lastFree(now, window)
  if (bytes > limit) ends = now
  else
    for (const entry of [...slots, ...held].sort((a, b) => a.ends - b.ends)) {
      if (over <= 0) break
      over -= entry.bytes
      ends = entry.ends
    }
  const retryAfter = Math.max(1, Math.ceil((ends - lastFree(now, window)) / 1000))
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
