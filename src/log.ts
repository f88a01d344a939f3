import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'
import type { LogOutput } from './telemetry/log-output.ts'

/**
 * The process's log: JSON, a line each, to an output that may drop lines, and then says how many.
 */
export function openLog({ logLevel }: Pick<Config, 'logLevel'>, output: LogOutput): Logger {
  const log = pino({ level: logLevel }, { write: (line) => output.write(line) })
  output.onRecovery = (count) => log.error({ count }, 'log lines dropped')
  return log
}
