import { loadConfig } from '../config.ts'
import { isExpected } from '../expected.ts'
import { openLog } from '../log.ts'
import { closeParts, openParts } from '../parts.ts'
import { listen } from '../server.ts'
import { stopWhenTold } from '../stop.ts'
import { LogOutput } from '../telemetry/log-output.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { shareOf } from './share.ts'

/**
 * One of several processes that serve one port. The primary starts it, with the environment that it has itself; what there is one of on a
 * machine (the first key, the notices of a start, the sweeps) is the primary's.
 */
async function start(): Promise<void> {
  const config = shareOf(loadConfig())
  const output = new LogOutput()
  const log = openLog(config, output)
  const parts = await openParts(config, log, { asWorker: true })
  parts.metrics?.lookAtLog(output)
  const server = await listen(parts, { isShared: true })
  stop = stopWhenTold({
    log,
    limit: config.stopTimeout,
    async close() {
      await server.close()
      await closeParts(parts)
    },
  })
  answer = async (question) => {
    if (parts.metrics) tell({ type: 'metrics', question, samples: await parts.metrics.read() })
  }
  // So that the log has it before the primary says that all are ready.
  output.flush()
  tell({ type: 'up', url: server.url })
}

/** Until it serves, there is nothing to be finished. */
let stop: () => void = () => process.exit(0)
let answer: (question: number) => Promise<void> = async () => {}

process.on('message', (message: ToWorker) => {
  if (message.type === 'stop') stop()
  // Else the primary goes by the last answer.
  else answer(message.question).catch(() => {})
})

// The primary has died, and nobody would see to this process.
process.once('disconnect', () => stop())

/** Resolves when it has been handed over, or cannot be. */
function tell(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve())
    else resolve()
  })
}

try {
  await start()
} catch (error) {
  const { message, stack = message } = error as Error
  await tell({ type: 'failed', reason: isExpected(error) ? message : stack })
  process.exit(1)
}
