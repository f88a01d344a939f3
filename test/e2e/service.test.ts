import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { pngOfSize } from '../support/images.ts'
import { startServer } from '../support/server.ts'
import { canTrace } from '../support/strace.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')
const unit = readFileSync(join(root, 'deploy/layover.service'), 'utf8')
/** The values of a setting, in order. */
const settings = (name: string) =>
  [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value)
const setting = (name: string) => settings(name)[0] ?? ''

const hasSystemd = await run('systemd-analyze', ['--version']).then(
  () => true,
  () => {
    if (process.env.REQUIRE_SYSTEMD) throw new Error('REQUIRE_SYSTEMD needs systemd-analyze')
    console.warn('\n*** NOT TESTED WITH SYSTEMD: systemd-analyze is not installed. ***\n')
    return false
  },
)

describe('the service of systemd', () => {
  test('starts what npm start starts, with no shell or npm between it and a signal', () => {
    const { start } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts
    expect(`exec ${setting('ExecStart').replace('/opt/layover/node_modules/.bin/', '')}`).toBe(start)
  })

  test('gives a stop and the memory more room than Layover needs', () => {
    const { stopTimeout, maxMemory, dataDir } = loadConfig({
      DATA_DIR: /DATA_DIR=(\S+)/.exec(setting('Environment'))?.[1],
    })
    expect(Number(/^(\d+)s$/.exec(setting('TimeoutStopSec'))?.[1])).toBeGreaterThan(stopTimeout + 5)
    expect(Number(/^(\d+)G$/.exec(setting('MemoryMax'))?.[1]) * 1024 ** 3).toBeGreaterThan(maxMemory)
    expect(dataDir).toBe(`/var/lib/${setting('StateDirectory')}`)
    // V8 makes code while it runs.
    expect(settings('MemoryDenyWriteExecute')).toEqual([])
  })

  test.skipIf(!hasSystemd)('is a unit that systemd understands, and exposes little', async () => {
    await using folder = await tempFolder()
    const file = join(folder.path, 'layover.service')
    await writeFile(file, unit.replaceAll('/opt/layover', root))
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', file])
    expect(stdout + stderr).toBe('')
    // In tenths: of 10, where 10 is a service without any of it. It fails above.
    const { stdout: report } = await run('systemd-analyze', [
      'security',
      '--offline=true',
      '--threshold=15',
      file,
    ])
    expect(report).toMatch(/Overall exposure level for layover.service: 1\.\d OK/)
  })

  test.skipIf(!hasSystemd || !canTrace)('lets every system call through that the server makes', async () => {
    await using folder = await tempFolder()
    const log = join(folder.path, 'calls')
    // -D: what is started becomes the server, and strace stands beside it.
    const under = ['strace', '-D', '-f', '-qq', '-o', log]
    await using server = await startServer({
      env: { ...OWN_KEY, QUOTA: '1GB', RATE_LIMIT: '1000/1m', SWEEP_INTERVAL: '1s', WORKERS: '2' },
      under,
    })
    for (const upload of Object.values(WAYS))
      for (const size of [5000, 3_000_000]) {
        const { path } = await upload(server.url, pngOfSize(size))
        expect((await call(server.url + path)).status).toBe(200)
      }
    expect((await server.stop('SIGTERM')).code).toBe(0)

    const lines = (await readFile(log, 'utf8')).split('\n')
    const made = new Set(
      lines.flatMap((line) => /^\d+ +(?:<... )?(\w+)(?:\(| resumed)/.exec(line)?.[1] ?? []),
    )
    expect(made).toContain('accept4')
    const [allowed = '', refused = ''] = settings('SystemCallFilter')
    const passes = await callsOf(allowed)
    for (const name of await callsOf(refused.replace('~', ''))) passes.delete(name)
    // As root alone: what it makes is given to whom the folder belongs, by SQLite and by us.
    if (process.getuid?.() === 0) for (const name of ['chown', 'fchown']) passes.add(name)
    expect([...made].filter((name) => !passes.has(name))).toEqual([])
  })
})

/** The calls of groups as systemd has them, and of the groups in these. */
async function callsOf(groups: string): Promise<Set<string>> {
  const { stdout } = await run('systemd-analyze', ['--no-pager', 'syscall-filter'])
  const known = new Map(
    stdout
      .split(/\n(?=@)/)
      .map((text) => text.split('\n').map((line) => line.trim()))
      .map(([name = '', ...members]) => [name, members.filter((line) => /^@?\w/.test(line))]),
  )
  const expand = (name: string): string[] =>
    name.startsWith('@') ? (known.get(name) ?? []).flatMap(expand) : [name]
  return new Set(groups.split(' ').flatMap(expand))
}
