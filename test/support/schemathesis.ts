import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { pythonWith } from './python.ts'

const VERSION = '4.32.5'
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
]

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
  const programs = await pythonWith(`schemathesis==${VERSION}`)
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
  const flagged = [...flags, ...Object.entries(options).flat()]
  const child = spawn(join(programs, 'python'), [join(programs, 'schemathesis'), ...flagged], {
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
