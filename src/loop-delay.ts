/** How often the loop is looked at, and over how long its delay is taken, in milliseconds. */
const INTERVAL = 100
const WINDOW = 8000

export interface LoopDelay {
  /**
   * How late what is due now will be, in milliseconds, as of the last seconds: a moment chosen at random waits so long on average. Weighs
   * time and not turns, or a stall of seconds would be one of hundreds.
   */
  readonly mean: number
  close(): void
}

/** Watches how far the event loop is behind. */
export function watchLoop(now: () => number = () => performance.now()): LoopDelay {
  const seen: { at: number; lasted: number; late: number }[] = []
  let before = now()
  let mean = 0
  const timer = setInterval(() => {
    const at = now()
    seen.push({ at, lasted: at - before, late: Math.max(0, at - before - INTERVAL) })
    while ((seen[0]?.at ?? at) < at - WINDOW) seen.shift()
    before = at
    const lasted = seen.reduce((sum, turn) => sum + turn.lasted, 0)
    const weighed = seen.reduce((sum, turn) => sum + turn.late * turn.lasted, 0)
    // A window that has just begun says little.
    mean = weighed / Math.max(lasted, WINDOW)
  }, INTERVAL)
  timer.unref()
  return {
    get mean() {
      return mean
    },
    close: () => clearInterval(timer),
  }
}
