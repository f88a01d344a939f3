#!/usr/bin/env node
import { CommanderError } from 'commander'
import { layover } from './command/program.ts'

/**
 * `layover …`. Ends with 0 if all is well, 1 if it could not be done, 2 if it was not understood. Each command loads what it needs itself,
 * so that none waits for another's libraries.
 */

/** What was not understood, commander has said already. */
async function explain(error: Error): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const { isExpected } = await import('./expected.ts')
  // What the system says of a file needs no stack either.
  const isClear = isExpected(error) || (error as NodeJS.ErrnoException).syscall !== undefined
  process.stderr.write(`${isClear ? error.message : error.stack}\n`)
  return 1
}

// Whoever reads may leave, as `head` does; what else keeps results from being written must be known.
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  process.exitCode = 1
  if (code !== 'EPIPE') process.stderr.write(`standard output: ${message}\n`)
})
// Results are not worth less when nobody reads the notes.
process.stderr.on('error', () => {})

try {
  const [, , ...args] = process.argv
  await layover().parseAsync(args.length > 0 ? args : ['--help'], { from: 'user' })
} catch (error) {
  process.exitCode = await explain(error as Error)
}
