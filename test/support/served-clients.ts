import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { fixture, pathOfFixture, sha256 } from './images.ts'

/** A file of `/clients`, with the key put in as a user does. */
export async function servedFile(server: string, path: string, key: string): Promise<string> {
  const answer = await fetch(`${server}/clients/${path}`)
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`)
  return (await answer.text()).replaceAll('YOUR_KEY', key)
}

/** A folder with a photograph in it, for what is to be run. */
export interface Folder extends AsyncDisposable {
  readonly path: string
  write(name: string, text: string): Promise<string>
  /** Puts a photograph there under another name, too. */
  photo(name: string): Promise<string>
}

export async function folder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'layover-client-'))
  const photo = async (name: string) => {
    await copyFile(pathOfFixture('photo.jpg'), join(path, name))
    return join(path, name)
  }
  await photo('photo.jpg')
  return {
    path,
    photo,
    write: async (name, text) => {
      await writeFile(join(path, name), text)
      return join(path, name)
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const execute = promisify(execFile)

/** Runs a program to its end, in a folder, with no key in its environment. */
export async function run(command: readonly string[], { path }: Folder, env = {}): Promise<Ran> {
  const [program = '', ...args] = command
  const { LAYOVER_KEY: _, ...outside } = process.env
  try {
    const options = { cwd: path, env: { ...outside, ...env }, timeout: 60_000 }
    return { code: 0, ...(await execute(program, args, options)) }
  } catch (error) {
    const { code, stdout, stderr } = error as Ran
    if (typeof code !== 'number') throw error
    return { code, stdout, stderr }
  }
}

/** Whether a program is there. */
export async function has(program: string, ...args: string[]): Promise<boolean> {
  return execute(program, args).then(
    () => true,
    () => false,
  )
}

/** That the photograph is there, byte for byte. */
export async function expectPhotoAt(url: string): Promise<void> {
  const answer = await fetch(url)
  expect({ url, status: answer.status }).toEqual({ url, status: 200 })
  expect(answer.headers.get('content-type')).toBe('image/jpeg')
  expect(sha256(new Uint8Array(await answer.arrayBuffer()))).toBe(sha256(fixture('photo.jpg')))
}
