import { existsSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { dataDirIn, readDotEnv } from './environment.ts'

/**
 * The process that `npm start` is: configuration → parts → server → a stop in order. With WORKERS above 1 it does not serve itself, but sees to
 * processes that do.
 */
async function start(): Promise<void> {
  readDotEnv()
  // Before all other code: what is loaded earlier is stripped of its types and compiled anew at each start.
  keepCompiled(dataDirIn(process.env))
  const { loadConfig } = await import('./config.ts')
  const config = loadConfig()
  // One that does not serve has no use for what that takes.
  const role = config.workers === 1 ? import('./alone.ts') : import('./workers/primary.ts')
  const [{ openParts }, { openLog }, { LogOutput }] = await Promise.all([
    import('./parts.ts'),
    import('./log.ts'),
    import('./telemetry/log-output.ts'),
  ])
  const output = new LogOutput()
  const parts = await openParts(config, openLog(config, output))
  parts.metrics?.lookAtLog(output)
  await (await role).serve(parts, output)
}

/**
 * Keeps what Node makes of the code, for the next start to take half as long: in DATA_DIR, as whoever can write there is trusted with the
 * secret and the keys anyway. Not before the first start has made that folder, or found that it cannot.
 */
function keepCompiled(dataDir: string): void {
  if (!existsSync(dataDir)) return
  const folder = join(dataDir, 'compiled')
  const { directory } = enableCompileCache(folder)
  // Workers do the same.
  if (directory !== undefined) process.env.NODE_COMPILE_CACHE ??= folder
}

try {
  await start()
} catch (error) {
  const { isExpected } = await import('./expected.ts')
  const { message, stack } = error as Error
  process.stderr.write(`Layover cannot start. ${isExpected(error) ? message : stack}\n`)
  process.exit(1)
}
