import type { Command } from 'commander'
import { CommandLineError } from '../command-line.ts'

/** A command's work, which resolves with an exit code, or nothing for 0. What makes no sense to it is answered with the command's usage. */
export function doing<T extends unknown[]>(work: (...args: T) => Promise<unknown>) {
  return async function (this: Command, ...args: T): Promise<void> {
    try {
      const code = await work(...args)
      if (typeof code === 'number' && code > 0) process.exitCode = code
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error
      this.error(`error: ${error.message}`)
    }
  }
}
