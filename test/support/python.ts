import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { toolFolder } from './tool-folder.ts'

const run = promisify(execFile)

const succeeds = (work: Promise<unknown>) =>
  work.then(
    () => true,
    () => false,
  )

/** A Python with OpenAI's own client; undefined where there is no Python or it cannot be installed. CI must have it. */
export async function pythonWithOpenai(): Promise<string | undefined> {
  try {
    return join(await pythonWith('openai==3.52.0', 'requests==2.32.5'), 'python')
  } catch (error) {
    if (process.env.CI) throw error
    console.warn(`\n*** NOT TESTED WITH OPENAI'S CLIENT FOR PYTHON: ${(error as Error).message} ***\n`)
    return undefined
  }
}

/**
 * Where the programs are of a Python that has some packages, in a folder of its own that lasts from run to run. It has been moved there when it
 * was whole, so that two who want it at a time are not in each other's way: a script in it is to be run as `python <script>`.
 *
 * @param packages As pip takes them, each with its version; the first names the folder.
 */
export async function pythonWith(...packages: readonly [string, ...string[]]): Promise<string> {
  const folder = join(toolFolder, `python-${packages[0].replace('==', '-')}`)
  const isThere = () => succeeds(access(join(folder, 'complete')))
  if (await isThere()) return join(folder, 'bin')
  await mkdir(toolFolder, { recursive: true })
  const own = await mkdtemp(`${folder}.`)
  try {
    await run('python3', ['-m', 'venv', own])
    await run(join(own, 'bin/pip'), ['install', '--quiet', ...packages])
    await mkdir(join(own, 'complete'))
    await rename(own, folder).catch(async (error) => {
      // Somebody else was first.
      if (!(await isThere())) throw error
    })
  } finally {
    await rm(own, { recursive: true, force: true })
  }
  return join(folder, 'bin')
}
