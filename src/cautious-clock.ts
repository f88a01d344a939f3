/** ms by which a clock may gain on the time that really passes without having jumped. */
const TOLERANCE = 60_000

/** ms for which a jump ahead must have lasted to be believed. */
const PROOF = 3_600_000

/** Two clocks, in ms: the machine's, since 1970, and one that nobody can set, since whenever. */
export interface Clocks {
  readonly wall: () => number
  readonly steady: () => number
}

const OF_MACHINE: Clocks = { wall: Date.now, steady: () => performance.now() }

/**
 * The time to delete by, in Unix ms.
 *
 * A clock that jumps ahead by mistake would have all deleted that expires before where it lands, which setting it right does not bring
 * back. So a jump ahead counts when it has lasted for an hour; until then, time goes on from where it was. What has expired by the clock
 * is refused all the same, and only keeps its space for longer. A jump back counts at once. A clock that is wrong already when the
 * process starts cannot be told.
 */
export function cautiousClock({ wall, steady }: Clocks = OF_MACHINE): () => number {
  let offset = wall() - steady()
  let doubted: { offset: number; since: number } | undefined

  return () => {
    const at = steady()
    const current = wall() - at
    if (current - offset > TOLERANCE) {
      if (doubted === undefined || Math.abs(current - doubted.offset) > TOLERANCE)
        doubted = { offset: current, since: at }
      if (at - doubted.since < PROOF) return at + offset
    }
    offset = current
    doubted = undefined
    return wall()
  }
}
