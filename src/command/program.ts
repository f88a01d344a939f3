import { Command } from 'commander'
import manifest from '../../package.json' with { type: 'json' }
import { output } from '../command-line.ts'
import { doing } from './doing.ts'
import { addKeys } from './keys.ts'
import { addUpload } from './upload-options.ts'

/** `layover`, with all its commands. Parsing rejects with a `CommanderError` when all has been said, be it help or what was wrong. */
export function layover(): Command {
  const program = new Command('layover')
    .description('Uploads images to a Layover server; runs one, and looks after it.')
    .version(manifest.version, '--version', 'show the version')
    .helpOption('-h, --help', 'show this, or all about a command')
    .helpCommand('help [command]', 'show all about a command')
    .exitOverride()
    .addHelpText('after', ABOUT)
  addUpload(program)
  addServe(program)
  addKeys(program, { config, output })
  addDoctor(program)
  addSweep(program)
  addMigrate(program)
  hintAtHelp(program)
  return program
}

const ABOUT = `
Try it:
  $ layover upload photo.png

upload needs nothing but the address of a server and a key to it, in the environment:
  LAYOVER_URL   the server; http://localhost:8080 if it is not set
  LAYOVER_KEY   the key, as "keys create" and the server's first start show it
The other commands work on a server's store and folder. They read the same .env
and environment as the server, so run them where it runs.

Exit codes: 0 done, 1 not done, 2 not understood, 130 stopped by Ctrl-C.
Results go to standard output, everything else to standard error.
`

/** The server's. */
async function config() {
  const { loadConfig, readDotEnv } = await import('../config.ts')
  readDotEnv()
  return loadConfig()
}

/** After what was wrong: one line of how it goes, not all there is to say. */
function hintAtHelp(command: Command): void {
  const usage = command.createHelp().commandUsage(command)
  const path = usage.replace(/ [[<].*/, '')
  command.showHelpAfterError(`Usage: ${usage}\nMore: ${path} --help`)
  for (const inner of command.commands) hintAtHelp(inner)
}

function addServe(program: Command): void {
  program
    .command('serve')
    .summary('run the server')
    .description('Runs the server until it gets SIGTERM or Ctrl-C: what "npm start" does.')
    .addHelpText(
      'after',
      `
All settings are environment variables, or in a .env in the current folder;
none is needed. The first start makes ./data, and shows the first key.
docs/configuration.md has all of them.

Examples:
  $ layover serve
  $ LIFETIME=24h layover serve
`,
    )
    .action(doing(async () => (await import('./serve.ts')).serve()))
}

function addDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('say what is wrong with a server, and what to do')
    .description(
      'Checks configuration, store, clock, proxies, and how models’ fetchers see an image; a line a check.',
    )
    .addHelpText(
      'after',
      `
It stores an image of one pixel, fetches it, and deletes it. With a key in
LAYOVER_KEY it makes a real upload of MAX_FILE_SIZE, too. Exits with 1 if
anything is wrong (✗).

Example:
  $ layover doctor
`,
    )
    .action(doing(async () => (await import('./diagnose.ts')).diagnose()))
}

function addSweep(program: Command): void {
  program
    .command('sweep')
    .summary('remove what has expired, once')
    .description(
      'Removes expired images, abandoned uploads by link, and stale temp files from the store, once.',
    )
    .option('--json', 'print one object with the numbers')
    .addHelpText(
      'after',
      `
A server does this by itself, unless it has SWEEP_INTERVAL=0. It is safe beside
a running one: what lives, and what is on its way in, is left alone. It goes by
this machine's clock. Exits with 1 if something could not be removed; the next
sweep tries again.

Examples:
  $ layover sweep
  $ layover sweep --json
`,
    )
    .action(doing(async (options) => (await import('./sweep.ts')).sweepOnce(options, output)))
}

function addMigrate(program: Command): void {
  program
    .command('migrate')
    .summary('copy the images of DATA_DIR to a bucket')
    .description('Copies the images below DATA_DIR to the bucket of STORE=s3; their URLs go on working.')
    .addHelpText(
      'after',
      `
It can be run again and again, also beside a running server: what is there
already is not copied twice. Nothing is removed. docs/storage.md says how to
move a server.

Example:
  $ STORE=s3 S3_BUCKET=bucket layover migrate
`,
    )
    .action(doing(async () => (await import('../migrate.ts')).migrate()))
}
