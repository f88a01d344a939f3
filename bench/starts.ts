import { openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from './ask.ts'
import { layoverCommand } from './contestants/layover.ts'
import { freePort } from './contestants/nginx.ts'
import { folderIn } from './folders.ts'
import { median } from './measure.ts'
import { end, launch } from './process.ts'

const STARTS = 5

/** Milliseconds from the start of the process to the first answer, on a folder that has been used before; the median of some. */
export async function measureStarts(base: string): Promise<number> {
  await using folder = await folderIn(base)
  const times: number[] = []
  for (let i = 0; i <= STARTS; i += 1) {
    const time = await startOnce(folder.path)
    // The first one makes the folders, the secret and the key.
    if (i > 0) times.push(time)
  }
  return median(times)
}

/** Milliseconds of one start, on all cores. */
async function startOnce(folder: string): Promise<number> {
  const port = await freePort()
  const env = { PORT: String(port), DATA_DIR: join(folder, 'data') }
  const begun = performance.now()
  const child = launch(layoverCommand, { env, cwd: folder, output: openSync('/dev/null', 'a') })
  try {
    while (!(await isUp(port))) {
      if (child.exitCode !== null || performance.now() - begun > 20_000)
        throw new Error('Layover did not start')
      await sleep(2)
    }
    return performance.now() - begun
  } finally {
    await end(child)
  }
}

const isUp = (port: number) =>
  ask(`http://127.0.0.1:${port}/healthz`).then(
    ({ status }) => status === 200,
    () => false,
  )
