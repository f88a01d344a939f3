import { chmod, mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { addKeys } from '../../src/command/keys.ts'
import { changeKeys } from '../../src/keys/change.ts'
import { formatKeyFile, newKey } from '../../src/keys/record.ts'
import { openKeyring } from '../../src/keys.ts'
import { tempFolder } from '../support/temp-folder.ts'

const START = Date.parse('2026-01-01T00:00:00Z')

afterEach(() => vi.restoreAllMocks())

/** A keyring on a file, and a clock for when the file is looked at. */
async function open(dataDir: string, now = () => START) {
  let elapsed = 1e6
  vi.spyOn(performance, 'now').mockImplementation(() => elapsed)
  const notes: string[] = []
  const ring = await openKeyring({ dataDir }, { onNote: (note) => notes.push(note), now })
  const pass = (milliseconds: number) => {
    elapsed += milliseconds
  }
  return { ...ring, first: ring.firstKey ?? '', notes, pass, path: join(dataDir, 'keys.json') }
}

/** Runs `layover keys …` and answers with what it printed for other programs. */
async function keys(dataDir: string, ...args: string[]): Promise<string> {
  let result = ''
  const append = (text: string) => {
    result += text
  }
  const config = { dataDir, apiKeys: undefined, authUpstreamUrl: undefined }
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} })
  addKeys(program, { config: async () => config, output: { result: append, note: () => {} } })
  await program.parseAsync(['keys', ...args], { from: 'user' })
  return result.trim()
}

describe('a running server', () => {
  test('takes a new key, and refuses a revoked one, within a second', async () => {
    await using folder = await tempFolder()
    const { find, first, pass } = await open(folder.path)
    const key = await keys(folder.path, 'create', '--name', 'alice')
    pass(999)
    expect(await find(key)).toBeUndefined()
    pass(1)
    expect(await find(key)).toMatchObject({ name: 'alice' })
    await keys(folder.path, 'revoke', 'first')
    pass(1000)
    // All who come during the look wait for it.
    expect(await Promise.all([find(first), find(first), find(first)])).toEqual(Array(3).fill(undefined))
    expect(await find(key)).toMatchObject({ name: 'alice' })
  })

  test('notices when a second key makes it a shared one, and when one is left', async () => {
    await using folder = await tempFolder()
    const { find, first, isShared, pass } = await open(folder.path)
    expect(isShared()).toBe(false)
    await keys(folder.path, 'create', '--name', 'alice')
    pass(1000)
    await find(first)
    expect(isShared()).toBe(true)
    await keys(folder.path, 'revoke', 'alice')
    pass(1000)
    await find(first)
    expect(isShared()).toBe(false)
  })

  test('notices a change that leaves size and time of the file as they were', async () => {
    await using folder = await tempFolder()
    const { find, first, pass, path } = await open(folder.path)
    const { key, record } = newKey('again', START)
    const time = new Date(START)
    await utimes(path, time, time)
    pass(1000)
    expect(await find(first)).toBeDefined()
    const { size } = await stat(path)
    await writeFile(`${path}.new`, formatKeyFile([record]))
    await utimes(`${path}.new`, time, time)
    expect((await stat(`${path}.new`)).size).toBe(size)
    await rename(`${path}.new`, path)
    pass(1000)
    expect(await find(key)).toBeDefined()
    expect(await find(first)).toBeUndefined()
  })

  test.each([
    ['damaged', (path: string) => writeFile(path, '{"keys": [{"name": "fi')],
    ['emptied', (path: string) => writeFile(path, '')],
    [
      'replaced by a folder',
      async (path: string) => {
        await rm(path)
        await mkdir(path)
      },
    ],
  ])(
    'keeps its keys when the file is %s, says so once, and goes on when it is repaired',
    async (_title, damage) => {
      await using folder = await tempFolder()
      const { find, first, pass, path, notes } = await open(folder.path)
      const text = await readFile(path, 'utf8')
      await damage(path)
      for (let look = 0; look < 3; look += 1) {
        pass(1000)
        expect(await find(first)).toBeDefined()
      }
      expect(notes).toEqual([expect.stringContaining(path)])
      await rm(path, { recursive: true })
      await writeFile(path, text.replaceAll('"first"', '"again"'))
      pass(1000)
      expect(await find(first)).toMatchObject({ name: 'again' })
    },
  )

  test('lets nobody in while the file is gone, and says so once', async () => {
    await using folder = await tempFolder()
    const { find, first, pass, path, notes } = await open(folder.path)
    await rename(path, `${path}.away`)
    for (let look = 0; look < 3; look += 1) {
      pass(1000)
      await expect(find(first)).rejects.toMatchObject({ code: 'auth_unavailable' })
    }
    expect(notes).toEqual([expect.stringMatching(/is gone/)])
    await rename(`${path}.away`, path)
    pass(1000)
    expect(await find(first)).toBeDefined()
  })

  test('starts without any key once the last is revoked, and says so', async () => {
    await using folder = await tempFolder()
    const { first } = await open(folder.path)
    await keys(folder.path, 'revoke', 'first')
    const { find, notes, firstKey } = await open(folder.path)
    expect(firstKey).toBeUndefined()
    expect(notes).toEqual([expect.stringMatching(/has no key/)])
    expect(await find(first)).toBeUndefined()
  })
})

describe('a key of its own kind', () => {
  test('brings its limits with it', async () => {
    await using folder = await tempFolder()
    const limits = ['--quota', '200MB', '--rate', '100/1m', '--max-lifetime', '24h']
    const key = await keys(folder.path, 'create', '--name', 'a', ...limits)
    const { find } = await open(folder.path)
    expect(await find(key)).toMatchObject({
      quota: 200 * 1024 ** 2,
      rateLimit: { count: 100, seconds: 60 },
      maxLifetime: 86_400,
    })
  })

  test('ends to the second when it expires, and is told from a wrong one', async () => {
    await using folder = await tempFolder()
    const expires = new Date(START + 5000).toISOString()
    const { key, record } = newKey('short', START)
    await changeKeys(folder.path, () => [{ ...record, expires }])
    let now = START + 4999
    const { find } = await open(folder.path, () => now)
    expect(await find(key)).toMatchObject({ name: 'short' })
    now += 1
    await expect(find(key)).rejects.toMatchObject({ code: 'key_expired', status: 401 })
    expect(await find(`${key}x`)).toBeUndefined()
  })
})

describe('changes of keys.json', () => {
  test('all survive, however many come at once', async () => {
    await using folder = await tempFolder()
    const names = Array.from({ length: 20 }, (_, index) => `key-${index}`)
    await Promise.all(names.map((name) => keys(folder.path, 'create', '--name', name)))
    const list: { name: string }[] = JSON.parse(await keys(folder.path, 'list', '--json'))
    expect(list.map(({ name }) => name).sort()).toEqual(names.sort())
    expect(await folder.names()).toEqual(['keys.json', 'keys.json.lock'])
  })

  test('keep it for its owner alone, and what a newer version wrote', async () => {
    await using folder = await tempFolder()
    const { record } = newKey('new', START)
    await changeKeys(folder.path, () => [{ ...record, colour: 'blue' }])
    await chmod(join(folder.path, 'keys.json'), 0o644)
    await keys(folder.path, 'create', '--name', 'other')
    expect((await stat(join(folder.path, 'keys.json'))).mode & 0o777).toBe(0o600)
    expect(await readFile(join(folder.path, 'keys.json'), 'utf8')).toContain('"colour": "blue"')
  })

  test('that fail leave it as it was, and nothing beside it', async () => {
    await using folder = await tempFolder()
    await keys(folder.path, 'create', '--name', 'a')
    const text = await readFile(join(folder.path, 'keys.json'), 'utf8')
    for (const args of [
      ['create', '--name', 'a'],
      ['revoke', 'nobody'],
      ['create', '--name', 'b', '--rate', '5'],
    ])
      await expect(keys(folder.path, ...args)).rejects.toThrow()
    expect(await readFile(join(folder.path, 'keys.json'), 'utf8')).toBe(text)
    expect(await folder.names()).toEqual(['keys.json', 'keys.json.lock'])
  })

  test('do not replace the first key of a server that starts meanwhile', async () => {
    for (let round = 0; round < 30; round += 1) {
      await using folder = await tempFolder()
      const [ring, key] = await Promise.all([
        openKeyring({ dataDir: folder.path }),
        keys(folder.path, 'create', '--name', 'a'),
      ])
      const { find } = await openKeyring({ dataDir: folder.path })
      expect(await find(key)).toBeDefined()
      if (ring.firstKey) expect(await find(ring.firstKey)).toBeDefined()
    }
  })
})

describe('revoke', () => {
  const made = (name: string, digit: string, last4: string) => ({
    ...newKey(name, START).record,
    sha256: digit.repeat(64),
    last4,
  })
  const all = [made('alice', 'a', 'x1y2'), made('bob', 'b', 'z9z9'), made('carol', 'c', 'z9z9')]

  test.each([
    ['alice', 'alice'],
    ['x1y2', 'alice'],
    ['bbbb', 'bob'],
    ['carol', 'carol'],
  ])('%s ends the key of %s alone', async (which, name) => {
    await using folder = await tempFolder()
    await changeKeys(folder.path, () => all)
    await keys(folder.path, 'revoke', which)
    const list: { name: string }[] = JSON.parse(await keys(folder.path, 'list', '--json'))
    expect(list.map((key) => key.name)).toEqual(['alice', 'bob', 'carol'].filter((other) => other !== name))
  })

  test.each([
    ['z9z9', /several/],
    ['ali', /no key/],
    ['bbb', /no key/],
    ['', /which key/],
  ])('"%s" is refused, as it is nobody’s or not one’s alone', async (which, message) => {
    await using folder = await tempFolder()
    await changeKeys(folder.path, () => all)
    await expect(keys(folder.path, 'revoke', which)).rejects.toThrow(message)
    expect(JSON.parse(await keys(folder.path, 'list', '--json'))).toHaveLength(3)
  })
})
