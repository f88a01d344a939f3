import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'

/** Characters of lines that are written at once, and for how many milliseconds at most they wait for others. */
const WORTH_WRITING = 4096
const LONGEST_WAIT = 25

/**
 * The process's log, on its standard output. Lines are gathered for a moment, as to write each costs a quarter of what a small image does;
 * whatever ends the process but SIGKILL, they are written.
 */
export function openLog({ logLevel }: Pick<Config, 'logLevel'>): Logger {
  const output = pino.destination({ fd: 1, sync: true })
  let lines = ''
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (lines !== '') output.write(lines)
    lines = ''
  }

  function write(line: string): void {
    lines += line
    if (lines.length >= WORTH_WRITING) flush()
    // Only when there is a line: an idle process is not to be woken for none.
    else if (timer === undefined) timer = setTimeout(flush, LONGEST_WAIT).unref()
  }

  process.on('exit', flush)
  return pino({ level: logLevel }, { write })
}
