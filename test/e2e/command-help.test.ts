import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }
import { SERVER_OPTIONS } from '../../src/command/serve.ts'
import { begin, run, shell } from '../support/command.ts'
import { startFaultyS3 } from '../support/faulty-s3.ts'
import { pathOfFixture } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'

const root = join(import.meta.dirname, '../..')

const COMMANDS = [
  '',
  'upload',
  'serve',
  'keys',
  'keys create',
  'keys list',
  'keys revoke',
  'doctor',
  'sweep',
  'migrate',
]

/** The lines of a command's help that can be typed as they are. */
async function examplesOf(command: string): Promise<string[]> {
  const { stdout } = await run([...command.split(' ').filter(Boolean), '--help'])
  const lines = [...stdout.matchAll(/^ {2}\$ (.+)$/gm)].map(([, line = '']) => line)
  return lines.filter((line) => !line.includes('…'))
}

let server: ServerProcess
let folder: TempFolder
beforeAll(async () => {
  ;[server, folder] = await Promise.all([startServer(), tempFolder()])
  await copyFile(pathOfFixture('photo.png'), join(folder.path, 'photo.png'))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

describe('help', () => {
  test.each(COMMANDS)('of "layover %s" is for a screen, and has an example', async (command) => {
    const { code, stdout, stderr } = await run([...command.split(' ').filter(Boolean), '--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`Usage: ${`layover ${command}`.trim()} `)
    const lines = stdout.trimEnd().split('\n')
    expect(lines.length).toBeLessThan(40)
    expect(lines.filter((line) => line.length > 100)).toEqual([])
    if (command !== 'keys') expect(stdout).toMatch(/^ {2}\$ .*layover /m)
  })

  const finite = COMMANDS.filter((command) => !['serve', 'migrate'].includes(command))
  test.each(finite)('of "layover %s" has examples that work as they are', async (command) => {
    const env = {
      LAYOVER_URL: server.url,
      LAYOVER_KEY: server.key(),
      DATA_DIR: server.dataDir,
      PORT: new URL(server.url).port,
    }
    for (const line of await examplesOf(command)) {
      const { code, stderr } = await shell(`set -e; ${line}`, { env, cwd: folder.path })
      expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: expect.any(String) })
    }
  })

  test('of "layover migrate" has an example that works as it is', async () => {
    await using s3 = await startFaultyS3()
    const env = {
      DATA_DIR: server.dataDir,
      S3_ENDPOINT: s3.endpoint,
      S3_ACCESS_KEY_ID: 'id',
      S3_SECRET_ACCESS_KEY: 'secret',
    }
    for (const line of await examplesOf('migrate'))
      expect(await shell(line, { env })).toMatchObject({
        stderr: '',
        code: 0,
        stdout: expect.stringContaining('"failed":0'),
      })
  })

  test('shows what there is when nothing, and a hint when something else is said', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' })
    expect(await run([])).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: layover') })
    for (const args of [
      ['uplaod', 'x.png'],
      ['upload'],
      ['doctor', 'me'],
      ['keys'],
      ['keys', 'revoke'],
      ['sweep', '--all'],
    ]) {
      const { code, stdout, stderr } = await run(args)
      expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' })
      expect(stderr).toContain('Usage: layover')
    }
    expect((await run(['uplaod', 'x.png'])).stderr).toContain('Did you mean upload?')
  })
})

describe('layover serve', { timeout: 90_000 }, () => {
  test('has examples that work as they are, each until it is told to stop', async () => {
    for (const line of await examplesOf('serve')) {
      await using data = await tempFolder()
      const env = { PATH: process.env.PATH, DATA_DIR: data.path, PORT: '0' }
      const command = line.replace('layover', `exec ${process.execPath} ${join(root, 'src/cli.ts')}`)
      const child = spawn('bash', ['-c', command], {
        env,
        cwd: data.path,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let output = ''
      child.stdout.on('data', (chunk) => {
        output += chunk
      })
      await eventually(() => output.includes('"msg":"ready"'), 25_000)
      child.kill('SIGTERM')
      expect({ line, ended: await once(child, 'close') }).toEqual({ line, ended: [0, null] })
    }
  })

  test('is what npm start is', async () => {
    expect(manifest.scripts.start).toBe(`exec node ${SERVER_OPTIONS.join(' ')} src/main.ts`)
    await using data = await tempFolder()
    const child = begin(['serve'], { env: { DATA_DIR: data.path, PORT: '0' } })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    await eventually(() => output.includes('"msg":"ready"'), 25_000)
    const commandLine = await readFile(`/proc/${child.pid}/cmdline`, 'utf8').catch(() => undefined)
    // On Linux.
    if (commandLine)
      expect(commandLine.split('\0').slice(1, -1)).toEqual([...SERVER_OPTIONS, join(root, 'src/main.ts')])
    child.kill('SIGTERM')
    expect(await once(child, 'close')).toEqual([0, null])
  })
})

test('in a clone, the command is there by npx and by npm run', async () => {
  const options = { cwd: root, env: { PATH: process.env.PATH, HOME: process.env.HOME } }
  const said = await Promise.all([
    promisify(execFile)('npx', ['--no', '--', 'layover', '--version'], options),
    promisify(execFile)('npm', ['run', '-s', 'layover', '--', '--version'], options),
  ])
  expect(said.map(({ stdout }) => stdout.trim())).toEqual([manifest.version, manifest.version])
})

test('whoever reads the first line only gets it, and no stack', async () => {
  await using data = await tempFolder()
  const env = { DATA_DIR: data.path }
  for (const command of ['--help', 'keys list --json']) {
    const { stderr } = await shell(`{ sleep 2; layover ${command}; } | true`, { env })
    expect({ command, stderr: stderr.replace(/^\S+ has no keys\.\n$/, '') }).toEqual({ command, stderr: '' })
  }
})
