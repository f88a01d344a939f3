import { type Command, InvalidArgumentError, Option } from 'commander'
import { DURATION_UNITS } from '../units.ts'
import { doing } from './doing.ts'

/** `layover upload`: uploads images, and prints their URLs. */
export function addUpload(program: Command): void {
  program
    .command('upload')
    .summary('upload images, and print their URLs')
    .description('Uploads images one after the other, and prints the URL of each on a line of its own.')
    .argument('<files...>', 'images to upload; - for what comes on standard input')
    .addOption(
      new Option('--url <address>', 'the server').env('LAYOVER_URL').default('http://localhost:8080'),
    )
    .option('--key-file <path>', 'a file with the key, if it is not in LAYOVER_KEY')
    .option(
      '--expires-in <time>',
      'how long they live, like 1h or 3600 (default: what the server says)',
      seconds,
    )
    .option('--json', 'print an object a line instead: file, url, id, delete_url, size, expires_at, …')
    .option('--retries <count>', 'times to try again when a server is busy or a connection breaks', times, 3)
    .option('--no-progress', 'show no progress bar on a terminal')
    .addHelpText('after', ABOUT)
    .action(doing(async (files, options) => (await import('./upload.ts')).upload(files, options)))
}

const ABOUT = `
The key is read from LAYOVER_KEY or from a file, and is no option: everybody on
the machine can see what programs are started with. It is sent to the server
and nowhere else; no redirect is followed.

What fails is named on standard error, with what the server says; the others go
on, and the exit code is 1. A wrong key ends it at once. Trying again is safe:
only a URL that was printed counts, and an image whose answer was lost expires
like any other. Standard input cannot be read twice.

Examples:
  $ export LAYOVER_KEY=sk-layover-…
  $ layover upload photo.png
  $ url=$(layover upload --expires-in 1h photo.png)
  $ layover upload *.png > urls.txt
  $ layover upload --json photo.png
  $ cat photo.png | layover upload -
`

/** Reads a time as 1h, or as a number of seconds. */
function seconds(text: string): number {
  const [, count = '', unit = 's'] = /^(\d{1,12})\s*([smhd]?)$/.exec(text.trim()) ?? []
  const value = Number(count) * DURATION_UNITS[(unit || 's') as keyof typeof DURATION_UNITS]
  if (count === '' || value === 0)
    throw new InvalidArgumentError('It is no time like 90s, 30m, 1h, 3d or 3600.')
  return value
}

function times(text: string): number {
  if (!/^\d{1,2}$/.test(text)) throw new InvalidArgumentError('It is no number from 0 to 99.')
  return Number(text)
}
