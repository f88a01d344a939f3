/** How often the loop is looked at, and over how long its delay is taken, in milliseconds. */
const INTERVAL = 100
const WINDOW = 8000

export interface LoopDelay {
  /**
   * Event-loop delay in milliseconds, as of the last seconds: how long the server's own work makes
   * a moment chosen at random wait. Weighs time and not turns of the loop, or a stall of seconds
   * would be one of hundreds. 0 until it is watched.
   */
  readonly mean: number
  /** Begins to watch. To be called when the server listens: a slow start is not load. */
  watch(): void
  close(): void
}

/** Both in milliseconds: a steady clock, and the CPU time that this thread has used. */
export interface LoopClocks {
  readonly now: () => number
  readonly cpu: () => number
}

const CLOCKS: LoopClocks = {
  now: () => performance.now(),
  cpu: () => {
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1000
  },
}

interface Turn {
  readonly at: number
  readonly lasted: number
  readonly late: number
}

/**
 * Measures how far the event loop is behind. Two things look like load and are none:
 *
 * - The thread was not run: the machine slept, a snapshot was taken, others had the cores. A turn
 *   is therefore late by no more than the CPU time that was used in it.
 * - A stall that is over. The longest turn of the window is therefore left out: only when there has
 *   been another like it does it say something of what comes next.
 */
export function loopDelay({ now, cpu }: LoopClocks = CLOCKS): LoopDelay {
  let seen: Turn[] = []
  let timer: NodeJS.Timeout | undefined
  let mean = 0
  return {
    get mean() {
      return mean
    },
    watch() {
      let [before, usedBefore] = [now(), cpu()]
      timer = setInterval(() => {
        const [at, used] = [now(), cpu()]
        const lasted = at - before
        seen.push({ at, lasted, late: Math.min(Math.max(0, lasted - INTERVAL), used - usedBefore) })
        // Always the last two: of turns that are longer than the window, one alone would never
        // count.
        seen = seen.filter(({ at: end }, index) => end >= at - WINDOW || index >= seen.length - 2)
        ;[before, usedBefore] = [at, used]
        mean = meanDelay(seen)
      }, INTERVAL)
      timer.unref()
    },
    close: () => clearInterval(timer),
  }
}

function meanDelay(turns: readonly Turn[]): number {
  const weights = turns.map(({ late, lasted }) => late * lasted)
  const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0)
  const counted = sum(weights) - Math.max(0, ...weights)
  // A window that has just begun says little.
  return counted / Math.max(sum(turns.map(({ lasted }) => lasted)), WINDOW)
}
