import closeWithGrace from 'close-with-grace'
import type { Logger } from 'pino'

/** Milliseconds that the end may take longer than what is under way. */
const SLACK = 5000

/** What whoever ends a process by hand or by system may send it. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const

export interface Stopping {
  readonly log: Logger
  /** Seconds that what is under way gets to finish. */
  readonly limit: number
  /** Takes nothing new, lets what is under way finish, and closes all. */
  close(): Promise<void>
}

/**
 * On SIGTERM, SIGINT or an error that nobody caught: closes, and ends the process with 0, or with 1 after an error, at a second signal or when
 * it takes too long.
 */
export function stopInOrder({ log, limit, close }: Stopping): void {
  closeWithGrace({ delay: limit * 1000 + SLACK, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error')
    else log.info({ signal }, 'stopping')
    await close()
    log.info('stopped')
  })
}

/**
 * The same for one of several workers. Answers with what makes it stop, which does it once however often it is called: a signal to
 * the whole group of processes reaches it as well as its primary, which then tells it to stop.
 */
export function stopWhenTold({ log, limit, close }: Stopping): () => void {
  let isStopping = false
  const options = { delay: limit * 1000 + SLACK, logger: log, skip: [...SIGNALS] }
  const closing = closeWithGrace(options, async ({ err }) => {
    isStopping = true
    if (err) log.fatal({ err }, 'stopping after an error')
    await close()
  })
  const stop = () => {
    if (isStopping) return
    isStopping = true
    closing.close()
  }
  for (const signal of SIGNALS) process.on(signal, stop)
  return stop
}
