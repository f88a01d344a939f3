import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'

/** Bytes of lines that are written at once: a pipe that several processes write to mixes what is longer. */
const MOST_AT_ONCE = 4096
/** Milliseconds for which a line may wait for others. */
const LONGEST_WAIT = 25

/**
 * The process's log, on its standard output. Lines are gathered for a moment, as to write each costs a quarter of what a small image does. They
 * are written before an end that the process comes to by itself; not before one by SIGKILL or a crash of Node's own.
 */
export function openLog({ logLevel }: Pick<Config, 'logLevel'>): Logger {
  const output = pino.destination({ fd: 1, sync: true })
  // Whoever read it may have gone, or its disk be full: no reason to serve no more.
  output.on('error', () => {})
  let lines = ''
  let bytes = 0
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (bytes > 0) output.write(lines)
    lines = ''
    bytes = 0
  }

  function write(line: string): void {
    const length = Buffer.byteLength(line)
    if (bytes + length > MOST_AT_ONCE) flush()
    lines += line
    bytes += length
    // Only when there is a line: an idle process is not to be woken for none.
    if (timer === undefined) timer = setTimeout(flush, LONGEST_WAIT).unref()
  }

  process.on('exit', flush)
  return pino({ level: logLevel }, { write })
}
