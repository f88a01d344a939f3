import { execFile } from 'node:child_process'
import { access, mkdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const OPENAI = '3.52.0'
const REQUESTS = '2.32.5'

const run = promisify(execFile)

/** A Python with OpenAI's own client, in a folder of its own that lasts from run to run; undefined where there is no Python. */
export async function pythonWithOpenai(): Promise<string | undefined> {
  const hasPython = await run('python3', ['-c', 'import ensurepip, venv']).then(
    () => true,
    () => false,
  )
  if (!hasPython) return undefined
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const folder = join(cache, 'layover-tests', `openai-${OPENAI}`)
  const mark = join(folder, 'complete')
  const program = join(folder, 'bin/python')
  const isThere = await access(mark).then(
    () => true,
    () => false,
  )
  if (isThere) return program
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await run('python3', ['-m', 'venv', folder])
  await run(join(folder, 'bin/pip'), ['install', '--quiet', `openai==${OPENAI}`, `requests==${REQUESTS}`])
  await mkdir(mark)
  return program
}
