import { execFile } from 'node:child_process'
import { chmod, chown, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canMount, smallDisk } from '../support/disk.ts'
import { failToStart, startServer } from '../support/server.ts'
import { OWN_KEY } from '../support/ways.ts'

/** Whoever cannot write anywhere as root alone can: the same user without root's rights. */
const WITHOUT_RIGHTS = ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all']
const SOMEBODY_ELSE = 65_534
const canDrop = await promisify(execFile)('setpriv', [...WITHOUT_RIGHTS.slice(1), 'true']).then(
  () => process.getuid?.() === 0,
  () => false,
)
if (!canDrop) console.warn('\n*** NOT TESTED AS ANOTHER USER: it takes root, and setpriv. ***\n')

const SECRET = 'a-secret-of-at-least-32-characters!'

describe.skipIf(!canDrop)('a data folder that the server may not write', () => {
  let dir: string
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'layover-'))
    await (await startServer({ dataDir: dir })).stop('SIGTERM')
  })
  afterAll(() => rm(dir, { recursive: true }))

  test.each([
    { what: 'all of it', owned: '.', env: {} },
    { what: 'all of it, with secret and keys from elsewhere', owned: '.', env: { ...OWN_KEY, SECRET } },
    { what: 'its temp files', owned: 'tmp', env: {} },
    { what: 'its images', owned: 'images', env: {} },
    { what: 'what is sent to links', owned: 'incoming', env: {} },
    { what: 'its secret', owned: 'secret', env: {} },
    { what: 'its keys', owned: 'keys.json', env: {} },
    { what: 'its usage', owned: 'usage.sqlite', env: {} },
  ])('$what, ends the start with DATA_DIR and what to do', async ({ owned, env }) => {
    const path = join(dir, owned)
    const { uid, gid, mode } = await stat(path)
    await chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE)
    await chmod(path, 0o700)
    const { code, output } = await failToStart({ DATA_DIR: dir, ...env }, { under: WITHOUT_RIGHTS })
    await chown(path, uid, gid)
    await chmod(path, mode & 0o777)
    expect(code).toBe(1)
    expect(output).toMatch(/^Layover cannot start. DATA_DIR: /)
    expect(output).toContain(dir)
    // It says what to do, rather than where in the source it was.
    expect(output).not.toMatch(/\n\s+at |delete it/)
  })
})

test.skipIf(!canMount)(
  'a disk that is read-only ends the start with DATA_DIR and what is wrong',
  async () => {
    await using disk = await smallDisk({ size: '8m' })
    await (await startServer({ dataDir: disk.path })).stop('SIGTERM')
    const release = await disk.writeProtect()
    try {
      const { code, output } = await failToStart({ DATA_DIR: disk.path })
      expect(code).toBe(1)
      expect(output).toMatch(/^Layover cannot start. DATA_DIR: .*EROFS/)
      expect(output).toContain(disk.path)
    } finally {
      await release()
    }
  },
)
