import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { eventually } from '../support/socket.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { OWN_KEY } from '../support/ways.ts'

const main = join(import.meta.dirname, '../../src/main.ts')

/** A port of our own choice, as the log that says it is not to be had. */
const port = 20_000 + (process.pid % 10_000)
const url = `http://127.0.0.1:${port}`

/** Starts a server, lets something happen to its log, and sees whether it goes on, and ends as it should. */
async function expectToServe(stdout: 'pipe' | number) {
  await using folder = await tempFolder()
  const env = { PATH: process.env.PATH, PORT: String(port), DATA_DIR: folder.path, ...OWN_KEY }
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', stdout, 'ignore'] })
  try {
    await eventually(async () =>
      fetch(url).then(
        () => true,
        () => false,
      ),
    )
    child.stdout?.destroy()
    for (let asked = 0; asked < 5; asked += 1) {
      const { status } = await fetch(`${url}/nothing`, { signal: AbortSignal.timeout(5000) })
      expect(status).toBe(404)
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    child.kill('SIGTERM')
    expect(await once(child, 'exit', { signal: AbortSignal.timeout(10_000) })).toEqual([0, null])
  } finally {
    child.kill('SIGKILL')
  }
}

describe('a server goes on, and stops when it is told to,', () => {
  test('when whoever read its log has gone', () => expectToServe('pipe'))
  test('when the disk that has its log is full', () => expectToServe(openSync('/dev/full', 'w')))
})
