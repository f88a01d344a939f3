#!/usr/bin/env node
import { CommandLineError, SYNOPSIS } from './command-line.ts'
import { ConfigError, loadConfig, readDotEnv } from './config.ts'
import { keysCommand } from './keys/command.ts'

/** `layover keys …`: makes, lists and revokes the keys below DATA_DIR, which a running server takes over by itself. */

async function run([command, ...args]: readonly string[]): Promise<void> {
  if (command === undefined || command === '--help' || args.includes('--help')) {
    process.stdout.write(SYNOPSIS)
    return
  }
  if (command !== 'keys') throw new CommandLineError(`no such command: ${command}`)
  readDotEnv()
  await keysCommand(args, loadConfig(), {
    result: (text) => process.stdout.write(text),
    note: (text) => process.stderr.write(text),
  })
}

/** What the system says of the data folder needs no stack either. */
function isExpected(error: unknown): boolean {
  return error instanceof ConfigError || (error as NodeJS.ErrnoException).syscall !== undefined
}

try {
  await run(process.argv.slice(2))
} catch (error) {
  const { message, stack } = error as Error
  if (error instanceof CommandLineError) process.stderr.write(`${message}\n${SYNOPSIS}`)
  else process.stderr.write(`${isExpected(error) ? message : stack}\n`)
  process.exitCode = error instanceof CommandLineError ? 2 : 1
}
