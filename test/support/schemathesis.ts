import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const VERSION = '4.32.5'
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
]

const run = promisify(execFile)

export interface Fuzzing {
  /** Of the server, without a slash at its end. */
  readonly url: string
  readonly key: string
  /** Cases for each operation and kind of data, at most. */
  readonly cases: number
  /** The same seed makes the same cases. */
  readonly seed: number
  /** Where it may leave what it keeps while it runs. */
  readonly dir: string
}

/** Sends what the document allows, and what it does not, and resolves with whether every answer was as documented. */
export async function schemathesis({ url, key, cases, seed, dir }: Fuzzing): Promise<boolean> {
  const program = await installed()
  const options = {
    '--header': `Authorization: Bearer ${key}`,
    '--checks': CHECKS.join(','),
    '--max-examples': String(cases),
    '--seed': String(seed),
    '--generation-database': 'none',
    // With more, threads that parse Python at a time trip over each other in CPython 3.11 (its issue 106905), and the run breaks off.
    '--workers': '1',
    '--request-timeout': '30',
    // That cases are hard to make is no finding.
    '--suppress-health-check': 'all',
    '--warnings': 'off',
  }
  const flags = [
    'run',
    `${url}/openapi.json`,
    '--url',
    url,
    '--no-color',
    '--no-shrink',
    '--continue-on-failure',
  ]
  const child = spawn(program, [...flags, ...Object.entries(options).flat()], {
    cwd: dir,
    // Nothing of the caller's: no proxy, no settings, and nobody is told of the run.
    env: {
      ...{ PATH: process.env.PATH, HOME: dir, NO_PROXY: '*', DO_NOT_TRACK: '1', PYTHONUTF8: '1' },
      ...{ SCHEMATHESIS_HOOKS: 'schemathesis_hooks', PYTHONPATH: import.meta.dirname },
      PYTHONDONTWRITEBYTECODE: '1',
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const [code] = await once(child, 'close')
  return code === 0
}

/** The program, in a folder of its own that lasts from run to run. */
async function installed(): Promise<string> {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const folder = join(cache, 'layover-tests', `schemathesis-${VERSION}`)
  const program = join(folder, 'bin/schemathesis')
  const mark = join(folder, 'complete')
  const isThere = await access(mark).then(
    () => true,
    () => false,
  )
  if (isThere) return program
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await run('python3', ['-m', 'venv', folder])
  await run(join(folder, 'bin/pip'), ['install', '--quiet', `schemathesis==${VERSION}`])
  await mkdir(mark)
  return program
}
