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
  const destination = pino.destination({ fd: 1, sync: true, minLength: WORTH_WRITING })
  process.on('exit', () => destination.flushSync())
  let timer: NodeJS.Timeout | undefined
  const flush = () => {
    timer = undefined
    destination.flushSync()
  }
  // Only when there is a line: an idle process is not to be woken for none.
  const write = (line: string) => {
    destination.write(line)
    if (timer === undefined) timer = setTimeout(flush, LONGEST_WAIT).unref()
  }
  return pino({ level: logLevel }, { write })
}
