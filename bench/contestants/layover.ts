import { openSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { imagePath } from '../../src/name.ts'
import { uploadOf } from '../../test/support/multipart.ts'
import { end, launch, onServerCore } from '../process.ts'
import { type Contestant, LAYOVER } from './contestant.ts'

const root = join(import.meta.dirname, '../..')
/** The runtime's options, as `npm start` gives them. */
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const NODE_OPTIONS: string[] = scripts.start.match(/--\S+/g)

/** The command that `npm start` runs. */
export const layoverCommand = [process.execPath, ...NODE_OPTIONS, join(root, 'src/main.ts')]

export interface LayoverOptions {
  /** Its data folder. */
  readonly dataDir: string
  readonly env?: Record<string, string>
  readonly name?: string
}

export interface Layover extends Contestant {
  readonly dataDir: string
  /** All lines of its log with this message, so far. */
  logged(message: string): Record<string, unknown>[]
}

/** Starts Layover as in production, with default settings. Its log is a file: nobody has to read along. */
export async function startLayover({ dataDir, env = {}, name = LAYOVER }: LayoverOptions): Promise<Layover> {
  await mkdir(dataDir, { recursive: true })
  const logFile = `${dataDir}.log`
  const output = openSync(logFile, 'a')
  const child = launch([...onServerCore, ...layoverCommand], {
    // In a folder where no `.env` of the developer's counts.
    cwd: dataDir,
    env: { PORT: '0', DATA_DIR: dataDir, ...env },
    output,
  })
  const log = () => readFileSync(logFile, 'utf8')
  const logged = (message: string) =>
    log()
      .split('\n')
      .filter((line) => line.includes(`"msg":"${message}"`))
      .map((line) => JSON.parse(line))
  for (let waited = 0; logged('ready').length === 0; waited += 10) {
    if (child.exitCode !== null || waited > 20_000) throw new Error(`Layover did not start:\n${log()}`)
    await sleep(10)
  }
  const images = join(dataDir, 'images')
  const authorization = `Bearer ${/sk-layover-[\w-]+/.exec(log())?.[0]}`
  return {
    name,
    url: String(logged('ready')[0]?.url).replace('localhost', '127.0.0.1'),
    pid: child.pid ?? 0,
    dataDir,
    logged,
    upload: {
      method: 'POST',
      path: '/api/upload',
      isNumbered: false,
      headers: { authorization, 'content-type': uploadOf(Buffer.alloc(0)).contentType },
      bodyOf: (image) => uploadOf(image).body,
      stored: () => filesBelow(images),
      read: (path) => readFile(path),
      async clear() {
        for (const shard of await readdir(images))
          await rm(join(images, shard), { recursive: true, force: true })
      },
    },
    pathOf: (image) => `/uploads/${imagePath(image)}`,
    [Symbol.asyncDispose]: () => end(child),
  }
}

export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
}
