import type { LogOutput } from '../telemetry/log-output.ts'
import type { Worker } from './crew.ts'

/** Bytes of a worker's standard error that may wait for its reader. */
const MOST_ERRORS = 64 * 1024

/**
 * Writes a worker's log with the primary's, in whole lines. Workers do not share the primary's
 * standard output: whether a pipe blocks is one setting for all who share it, and each process that
 * starts or ends with it changes that (libuv's `uv_spawn`).
 */
export function forwardLog({ stdout }: Worker, output: LogOutput): void {
  let rest = ''
  stdout?.setEncoding('utf8').on('data', (text: string) => {
    const end = text.lastIndexOf('\n') + 1
    if (end > 0) {
      for (const line of linesIn(rest + text.slice(0, end))) output.write(line)
      rest = ''
    }
    rest += text.slice(end)
  })
}

/**
 * The same for what a worker, or Node, says on standard error. Beyond a few lines that nobody
 * reads, it is dropped.
 */
export function forwardErrors({ stderr }: Worker): void {
  stderr?.on('data', (bytes: Buffer) => {
    if (process.stderr.writableLength < MOST_ERRORS) process.stderr.write(bytes)
  })
}

/** Each with its line feed. */
function linesIn(text: string): string[] {
  return text.match(/[^\n]*\n/g) ?? []
}
