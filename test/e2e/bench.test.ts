import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isInstalled } from '../../bench/programs.ts'
import { tempFolder } from '../support/temp-folder.ts'

const script = join(import.meta.dirname, '../../bench/bench.ts')

describe.skipIf(!process.env.CI && !['wrk', 'nginx'].every(isInstalled))('npm run bench', () => {
  test('measures each contestant, finds its answers right, and writes a report and a chart', {
    timeout: 180_000,
  }, async () => {
    await using folder = await tempFolder()
    const scenarios = '^upload 50 KB × 16, memory|^GET 1 MB, again'
    const options = ['--quick', '--rounds=1', '--seconds=1', '--name=smoke', `--into=${folder.path}`]
    const run = promisify(execFile)(process.execPath, [script, ...options, `--only=${scenarios}`])
    // 2: beside other tests, a server may be too busy to take an upload.
    const { stdout } = await run.catch((error) => {
      if (error.code === 2) return error
      throw error
    })
    expect(stdout).toContain("| GET 1 MB, again × 32: rate of nginx's | ≥ 1 × |")

    const result = (name: string) => readFile(join(folder.path, `smoke.${name}`), 'utf8')
    const { measured } = JSON.parse(await result('json'))
    const measuredOf = Object.fromEntries(
      measured.comparisons.map(({ scenario, rounds }: { scenario: { kind: string }; rounds: object }) => [
        scenario.kind,
        Object.keys(rounds),
      ]),
    )
    expect(measuredOf.get).toEqual(['Layover', 'plain Fastify', 'nginx'])
    // Uploads are compared where there is a file system in memory.
    if (measuredOf.upload) expect(measuredOf.upload).toContain('raw node:http')
    expect(await result('md')).toContain('## Targets')
    expect(await result('svg')).toMatch(/^<svg .*<\/svg>\n$/s)
  })
})
