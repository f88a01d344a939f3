import type { Command } from 'commander'
import type { Output } from '../command-line.ts'
import type { Where } from '../keys/command.ts'
import { doing } from './doing.ts'

export interface Surroundings {
  /** Where the keys are, once that is needed. */
  readonly config: () => Promise<Where>
  readonly output: Output
}

/** `layover keys …`: makes, lists and revokes the keys below DATA_DIR, which a running server takes over by itself. */
export function addKeys(program: Command, surroundings: Surroundings): void {
  const keys = program
    .command('keys')
    .summary('make, list and revoke keys')
    .description(
      'Makes, lists and revokes the keys in DATA_DIR. A running server takes changes over within a second.',
    )
  addCreate(keys, surroundings)
  addList(keys, surroundings)
  addRevoke(keys, surroundings)
}

function addCreate(keys: Command, { config, output }: Surroundings): void {
  keys
    .command('create')
    .summary('make a key, and show it this once')
    .description('Makes a key, and shows it this once: what is kept is its hash.')
    .requiredOption('--name <name>', '1 to 64 letters, digits, "_", ".", "@" and "-"; the log says it')
    .option('--expires <time>', 'from when on it is refused, like 90d (default: never)')
    .option(
      '--quota <size>',
      'what it may upload within QUOTA_WINDOW, like 200MB; 0 for any (default: QUOTA)',
    )
    .option('--rate <rate>', 'requests in a time, like 100/1m; 0 for any (default: RATE_LIMIT)')
    .option('--max-lifetime <time>', 'longest life of its images, like 24h (default: MAX_LIFETIME)')
    .addHelpText(
      'after',
      `
Examples:
  $ layover keys create --name alice
  $ KEY=$(layover keys create --name ci --expires 90d --rate 100/1m --max-lifetime 24h)
A value that begins with "-" goes after "=": --name=-x
`,
    )
    .action(
      doing(async (options) => {
        const { createKey } = await import('../keys/command.ts')
        await createKey(options, await config(), output)
      }),
    )
}

function addList(keys: Command, { config, output }: Surroundings): void {
  keys
    .command('list')
    .summary('show all keys and their limits')
    .description('Shows all keys with their limits, and of each key itself the last four characters.')
    .option('--json', 'print an array, for other programs')
    .addHelpText('after', '\nExamples:\n  $ layover keys list\n  $ layover keys list --json\n')
    .action(
      doing(async (options) => {
        const { listKeys } = await import('../keys/command.ts')
        await listKeys(options, await config(), output)
      }),
    )
}

function addRevoke(keys: Command, { config, output }: Surroundings): void {
  keys
    .command('revoke')
    .summary('take a key back')
    .description('Takes a key back at once. The images it uploaded stay until they expire.')
    .argument('<key>', 'its name, its last four characters, or the beginning of its id')
    .addHelpText(
      'after',
      `
Example:
  $ layover keys revoke alice
What begins with "-" goes after "--": layover keys revoke -- -x1Y
`,
    )
    .action(
      doing(async (which: string) => {
        const { revokeKey } = await import('../keys/command.ts')
        await revokeKey(which, await config(), output)
      }),
    )
}
