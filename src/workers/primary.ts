import { closeParts, type Parts } from '../parts.ts'
import { stopInOrder } from '../stop.ts'
import { sweepRegularly } from '../sweeping.ts'
import { welcome } from '../welcome.ts'
import { Crew, send } from './crew.ts'

/** Seconds that the primary waits longer than its workers, each of which ends by itself when its time is up. */
const LONGER = 1

/**
 * Has WORKERS processes serve, and does what there must be one of: says what a start has to say, sweeps, and answers for all when the metrics
 * are read. Rejects with what to do if they cannot start.
 */
export async function serve(parts: Parts): Promise<void> {
  const { config, log, spool } = parts
  // With the library of the metrics, for whoever asks for them.
  const reports =
    parts.metrics &&
    (await import('./reports.ts')).reports({
      present: () => crew.present(),
      ask: (worker, question) => send(worker, { type: 'metrics', question }),
    })
  const crew = new Crew({
    count: config.workers,
    log,
    onMessage(worker, message) {
      if (message.type === 'metrics') reports?.take(worker, message)
    },
    onEnd(worker) {
      reports?.leave(worker)
      // What it had on its way in. With what it has published, and what it was charged for, all is well.
      spool.sweep(Date.now()).catch((err) => log.error({ err }, 'a part of the sweep failed'))
    },
  })
  const { listener } = await welcome(parts, crew.start(), reports?.collect)
  const sweeping = sweepRegularly(parts)
  stopInOrder({
    log,
    limit: config.stopTimeout + LONGER,
    async close() {
      sweeping.stop()
      // Also where one of them did not end well.
      await crew.stop().finally(() => closeParts(parts))
      await listener?.close()
    },
  })
}
