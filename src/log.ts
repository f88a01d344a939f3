import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'

/** Bytes of lines that are written at once, and for how many milliseconds at most they wait for others. */
const WORTH_WRITING = 4096
const LONGEST_WAIT = 25

/**
 * The process's log, on its standard output. Lines are gathered for a moment, as to write each costs a quarter of what a small image does;
 * whatever ends the process but SIGKILL, they are written.
 */
export function openLog({ logLevel }: Pick<Config, 'logLevel'>): Logger {
  const options = { fd: 1, sync: true, minLength: WORTH_WRITING, periodicFlush: LONGEST_WAIT }
  const destination = pino.destination(options)
  process.on('exit', () => destination.flushSync())
  return pino({ level: logLevel }, destination)
}
