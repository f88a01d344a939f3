import { constants } from 'node:os'

export interface Stopping extends Disposable {
  readonly signal: AbortSignal
  /** What to end with, once a signal came: 130 for Ctrl-C, as shells count it. */
  readonly exitCode: number | undefined
  /** Stops for another reason. */
  stop(): void
}

/** Milliseconds that the work gets to end in order. */
const GRACE = 2000

/** Lets Ctrl-C, and whoever ends the process, abort the work in order; a second one ends it at once. */
export function stopOnSignals(): Stopping {
  const stopping = new AbortController()
  let exitCode: number | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    release()
    exitCode = 128 + constants.signals[signal]
    stopping.abort()
    setTimeout(() => process.exit(exitCode), GRACE).unref()
  }
  const release = () => {
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  return {
    signal: stopping.signal,
    get exitCode() {
      return exitCode
    },
    stop: () => stopping.abort(),
    [Symbol.dispose]: release,
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
