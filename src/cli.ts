#!/usr/bin/env node
import { CommandLineError, SYNOPSIS } from './command-line.ts'
import { ConfigError, loadConfig, readDotEnv } from './config.ts'
import { doctor } from './doctor.ts'
import { keysCommand } from './keys/command.ts'

/**
 * `layover keys …`: makes, lists and revokes the keys below DATA_DIR, which a running server takes over by itself. `layover doctor`: says
 * what is wrong with a server and its surroundings.
 */

async function run([command, ...args]: readonly string[]): Promise<void> {
  if (command === undefined || command === '--help' || args.includes('--help')) {
    process.stdout.write(SYNOPSIS)
    return
  }
  if (command === 'doctor' && args.length === 0) return diagnose()
  if (command === 'doctor') throw new CommandLineError(`doctor takes nothing more: ${args.join(' ')}`)
  if (command !== 'keys') throw new CommandLineError(`no such command: ${command}`)
  readDotEnv()
  await keysCommand(args, loadConfig(), {
    result: (text) => process.stdout.write(text),
    note: (text) => process.stderr.write(text),
  })
}

async function diagnose(): Promise<void> {
  const print = (line: string) => process.stdout.write(`${line}\n`)
  // Whoever reads may leave, as `head` does; what was put into the store is taken out all the same.
  process.stdout.on('error', () => {})
  readDotEnv()
  try {
    const config = loadConfig()
    print('✓ configuration: can be used')
    const { LAYOVER_KEY: key } = process.env
    const isWell = await doctor({ config, key: key || undefined, print })
    process.exitCode = isWell ? 0 : 1
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    print(
      `✗ configuration: ${error.message
        .split('\n')
        .slice(1)
        .map((line) => line.trim())
        .join('; ')}`,
    )
    process.exitCode = 1
  }
  // What goes on after its time is of no use any more.
  setTimeout(() => process.exit(), 1000).unref()
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
