import { createHash } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/config.ts'
import { openKeyring } from '../../src/keys.ts'
import { tempFolder } from '../support/temp-folder.ts'

/** How often two starts are let loose on one new folder: which of them is quicker is chance. */
const ROUNDS = 50

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

/** What is nearly the key but is not. */
function nearMisses(key: string): string[] {
  const changed = Array.from(
    key,
    (character, index) => key.slice(0, index) + (character === 'a' ? 'b' : 'a') + key.slice(index + 1),
  )
  const whole = [
    key.slice(1),
    key.slice(0, -1),
    `${key}a`,
    ` ${key}`,
    `${key}\n`,
    `${key}\0`,
    `${key},${key}`,
  ]
  const digest = createHash('sha256').update(key).digest()
  return [...changed, ...whole, key.toUpperCase(), '', digest.toString('hex'), digest.toString('base64')]
}

describe('keys.json', () => {
  test('is made at the first start, for its owner alone, and does not hold the key', async () => {
    await using folder = await tempFolder()
    const dataDir = join(folder.path, 'data')
    const { firstKey = '', find } = await openKeyring({ dataDir })
    expect(firstKey).toMatch(/^sk-layover-[\w-]{32}$/)
    expect(await find(firstKey)).toMatchObject({ name: 'first' })

    const path = join(dataDir, 'keys.json')
    const text = await readFile(path, 'utf8')
    expect(text).not.toContain(firstKey)
    expect(text).not.toContain(firstKey.slice('sk-layover-'.length, -4))
    expect(JSON.parse(text).keys).toEqual([
      {
        name: 'first',
        sha256: createHash('sha256').update(firstKey).digest('hex'),
        last4: firstKey.slice(-4),
        created: expect.any(String),
      },
    ])
    expect(await modeOf(path)).toBe(0o600)
    expect(await modeOf(dataDir)).toBe(0o700)
  })

  test('lets the same key in, under the same id, at every later start, and no new one is made', async () => {
    await using folder = await tempFolder()
    const first = await openKeyring({ dataDir: folder.path })
    const text = await readFile(join(folder.path, 'keys.json'), 'utf8')
    const second = await openKeyring({ dataDir: folder.path })
    expect(second.firstKey).toBeUndefined()
    expect(await second.find(first.firstKey ?? '')).toEqual(await first.find(first.firstKey ?? ''))
    expect(await readFile(join(folder.path, 'keys.json'), 'utf8')).toBe(text)
  })

  test('is neither read nor made if API_KEYS is set', async () => {
    await using folder = await tempFolder()
    const apiKeys = [{ name: 'ci', key: 'configured-key-1234' }]
    await openKeyring({ dataDir: folder.path, apiKeys })
    expect(await folder.names()).toEqual([])

    const { firstKey = '' } = await openKeyring({ dataDir: folder.path })
    const configured = await openKeyring({ dataDir: folder.path, apiKeys })
    expect(await configured.find(firstKey)).toBeUndefined()
    expect(await configured.find('configured-key-1234')).toMatchObject({ name: 'ci' })
    expect(configured.firstKey).toBeUndefined()
  })

  const entry = { name: 'a', sha256: 'a'.repeat(64), last4: 'abcd', created: '2026-01-01T00:00:00.000Z' }
  test.each([
    ['is empty', ''],
    ['was cut off', '{"keys": [{"name": "fi'],
    ['holds something else', '{"users": []}'],
    ['is a list', '[]'],
    ['has a key without a digest', JSON.stringify({ keys: [{ ...entry, sha256: undefined }] })],
    ['has a digest that is too short', JSON.stringify({ keys: [{ ...entry, sha256: 'abc' }] })],
    [
      'has a digest that is not hexadecimal',
      JSON.stringify({ keys: [{ ...entry, sha256: 'z'.repeat(64) }] }),
    ],
  ])('that %s stops the start and is named, and stays as it is', async (_title, text) => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'keys.json')
    await writeFile(path, text)
    const failure = await openKeyring({ dataDir: folder.path }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(ConfigError)
    expect(failure).toHaveProperty('message', expect.stringContaining(path))
    expect(await readFile(path, 'utf8')).toBe(text)
  })

  test('that has one key under two names stops the start, which says the names', async () => {
    await using folder = await tempFolder()
    const keys = [entry, { ...entry, name: 'b', sha256: 'b'.repeat(64) }, { ...entry, name: 'c' }]
    await writeFile(join(folder.path, 'keys.json'), JSON.stringify({ keys }))
    const failure = await openKeyring({ dataDir: folder.path }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(ConfigError)
    expect(failure).toHaveProperty('message', expect.stringMatching(/keys\.json .*two names, a and c/))
  })

  test('is whole and accepted by both when two processes start together', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await using folder = await tempFolder()
      const rings = await Promise.all([
        openKeyring({ dataDir: folder.path }),
        openKeyring({ dataDir: folder.path }),
      ])
      const shown = rings.flatMap(({ firstKey }) => firstKey ?? [])
      expect(shown).toHaveLength(1)
      for (const ring of rings) expect(await ring.find(shown[0] ?? '')).toMatchObject({ name: 'first' })
      expect(await folder.names()).toEqual(['keys.json'])
    }
  })
})

describe('a keyring', () => {
  const apiKeys = [
    { name: 'ci', key: 'Configured-Key-1234' },
    { name: 'laptop', key: 'another-key-567890' },
  ]

  test('tells each key by its name and has a different id for each', async () => {
    const ring = await openKeyring({ dataDir: 'unused', apiKeys })
    const found = await Promise.all(apiKeys.map(({ key }) => ring.find(key)))
    expect(found.map((key) => key?.name)).toEqual(['ci', 'laptop'])
    expect(new Set(found.map((key) => key?.id)).size).toBe(2)
    expect(JSON.stringify(found)).not.toMatch(/Configured|another/)
  })

  test('is shared when it has more than one key', async () => {
    const isShared = async (keys: typeof apiKeys) =>
      (await openKeyring({ dataDir: 'unused', apiKeys: keys })).isShared()
    expect([await isShared(apiKeys.slice(0, 1)), await isShared(apiKeys)]).toEqual([false, true])
  })

  test('knows nothing that is nearly a key', async () => {
    const ring = await openKeyring({ dataDir: 'unused', apiKeys })
    const wrong = apiKeys.flatMap(({ key }) => nearMisses(key))
    const found = await Promise.all(wrong.map((key) => ring.find(key)))
    expect(wrong.filter((_, index) => found[index])).toEqual([])
  })
})
