import { closeParts, type Parts } from '../parts.ts'
import { stopInOrder } from '../stop.ts'
import { sweepRegularly } from '../sweeping.ts'
import type { LogOutput } from '../telemetry/log-output.ts'
import { welcome } from '../welcome.ts'
import { Crew } from './crew.ts'
import { forwardErrors, forwardLog } from './forward.ts'
import { reservePort } from './port.ts'
import type { Reports } from './reports.ts'

/** Seconds that the primary waits longer than its workers, each of which ends by itself when its time is up. */
const LONGER = 1

/**
 * Has WORKERS processes serve, and does what there must be one of: says what a start has to say, sweeps, and answers for all when the metrics
 * are read. Rejects with what to do if they cannot start.
 */
export async function serve(parts: Parts, output: LogOutput): Promise<void> {
  const { config, log, metrics } = parts
  // With the library of the metrics, for whoever asks for them.
  const reports = metrics && (await import('./reports.ts')).openReports()
  const { server, listener } = await welcome(parts, startWorkers(parts, output, reports), reports?.collect)
  const sweeping = sweepRegularly(parts)
  stopInOrder({
    log,
    limit: config.stopTimeout + LONGER,
    async close() {
      sweeping.stop()
      // Also where one of them did not end well.
      await server.stop().finally(() => closeParts(parts))
      await listener?.close()
    },
  })
}

async function startWorkers(
  { config, log, spool }: Parts,
  output: LogOutput,
  reports: Reports | undefined,
): Promise<Crew> {
  const { port, release } = await reservePort(config)
  // What the workers say there is written for as long as somebody reads it.
  process.stderr.on('error', () => {})
  const crew = new Crew({
    count: config.workers,
    // As they are known here: `auto` and 0 may come to mean another number.
    env: { WORKERS: String(config.workers), PORT: String(port) },
    log,
    onStart(worker) {
      forwardLog(worker, output)
      forwardErrors(worker)
    },
    onMessage(worker, message) {
      if (message.type === 'metrics') reports?.take(worker, message)
    },
    onUp: (worker) => reports?.join(worker),
    onEnd(worker) {
      reports?.leave(worker)
      // What it had on its way in.
      spool.sweep(Date.now()).catch((err) => log.error({ err }, 'a part of the sweep failed'))
    },
  })
  return crew.start().finally(release)
}
