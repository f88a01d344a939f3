import { join } from 'node:path'
import { parseArgs } from 'node:util'

export interface Options {
  /** Only what the targets need. */
  readonly isQuick: boolean
  readonly rounds: number
  /** Whole ones, of a round of uploads, and of GETs. */
  readonly seconds: number
  readonly getSeconds: number
  /** Folder of the results. */
  readonly into: string
  /** What the files of the results are called. */
  readonly name: string
  /** Whether to run what has this title. */
  isWanted(title: string): boolean
}

/**
 * Reads the command line: `--quick`, `--only <regular expression>`, `--rounds <n>`, `--seconds <n>`,
 * `--name <of the results>`, `--into <folder of the results>`.
 */
export function readOptions(args = process.argv.slice(2)): Options {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      name: { type: 'string' },
      into: { type: 'string', default: join(import.meta.dirname, 'results') },
    },
  })
  const { quick: isQuick, only, seconds, into } = values
  const pattern = new RegExp(only ?? '', 'i')
  // A run of a part does not take the place of a whole one.
  const name = values.name ?? (only !== undefined ? 'part' : isQuick ? 'quick' : 'latest')
  return {
    isQuick,
    rounds: Number(values.rounds ?? (isQuick ? 3 : 5)),
    seconds: Number(seconds ?? 2),
    getSeconds: Number(seconds ?? (isQuick ? 1 : 2)),
    into,
    name,
    isWanted: (title) => pattern.test(title),
  }
}
