import { loadConfig, readDotEnv } from './config.ts'
import { openLog } from './log.ts'
import { isExpected, openParts } from './parts.ts'

/**
 * The process that `npm start` is: configuration → parts → server → a stop in order. With WORKERS above 1 it does not serve itself, but sees to
 * processes that do.
 */
async function start(): Promise<void> {
  readDotEnv()
  const config = loadConfig()
  // One that does not serve has no use for what that takes.
  const role = config.workers === 1 ? import('./alone.ts') : import('./workers/primary.ts')
  const parts = await openParts(config, openLog(config))
  await (await role).serve(parts)
}

try {
  await start()
} catch (error) {
  const { message, stack } = error as Error
  process.stderr.write(`Layover cannot start. ${isExpected(error) ? message : stack}\n`)
  process.exit(1)
}
