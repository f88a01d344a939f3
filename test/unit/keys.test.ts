import { createHash } from 'node:crypto'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/config.ts'
import { openKeyring, openSecret } from '../../src/keys.ts'
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
    expect(find(firstKey)).toMatchObject({ name: 'first' })

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
    expect(second.find(first.firstKey ?? '')).toEqual(first.find(first.firstKey ?? ''))
    expect(await readFile(join(folder.path, 'keys.json'), 'utf8')).toBe(text)
  })

  test('is neither read nor made if API_KEYS is set', async () => {
    await using folder = await tempFolder()
    const apiKeys = [{ name: 'ci', key: 'configured-key-1234' }]
    await openKeyring({ dataDir: folder.path, apiKeys })
    expect(await folder.names()).toEqual([])

    const { firstKey = '' } = await openKeyring({ dataDir: folder.path })
    const configured = await openKeyring({ dataDir: folder.path, apiKeys })
    expect(configured.find(firstKey)).toBeUndefined()
    expect(configured.find('configured-key-1234')).toMatchObject({ name: 'ci' })
    expect(configured.firstKey).toBeUndefined()
  })

  const entry = { name: 'a', sha256: 'a'.repeat(64), last4: 'abcd', created: '2026-01-01T00:00:00.000Z' }
  test.each([
    ['is empty', ''],
    ['was cut off', '{"keys": [{"name": "fi'],
    ['holds something else', '{"users": []}'],
    ['is a list', '[]'],
    ['has no key at all', '{"keys": []}'],
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

  test('is whole and accepted by both when two processes start together', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await using folder = await tempFolder()
      const rings = await Promise.all([
        openKeyring({ dataDir: folder.path }),
        openKeyring({ dataDir: folder.path }),
      ])
      const shown = rings.flatMap(({ firstKey }) => firstKey ?? [])
      expect(shown).toHaveLength(1)
      for (const ring of rings) expect(ring.find(shown[0] ?? '')).toMatchObject({ name: 'first' })
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
    const found = apiKeys.map(({ key }) => ring.find(key))
    expect(found.map((key) => key?.name)).toEqual(['ci', 'laptop'])
    expect(new Set(found.map((key) => key?.id)).size).toBe(2)
    expect(JSON.stringify(found)).not.toMatch(/Configured|another/)
  })

  test('knows nothing that is nearly a key', async () => {
    const ring = await openKeyring({ dataDir: 'unused', apiKeys })
    expect(apiKeys.flatMap(({ key }) => nearMisses(key)).filter((key) => ring.find(key))).toEqual([])
  })
})

describe('the secret', () => {
  test('is the configured one, and then none is made', async () => {
    await using folder = await tempFolder()
    const secret = Buffer.alloc(40, 's')
    expect(await openSecret({ dataDir: folder.path, secret })).toBe(secret)
    expect(await folder.names()).toEqual([])
  })

  test('is else made at the first start, for its owner alone, and stays the same', async () => {
    await using folder = await tempFolder()
    const first = await openSecret({ dataDir: folder.path })
    expect(first).toHaveLength(32)
    expect(await openSecret({ dataDir: folder.path })).toEqual(first)
    expect(await modeOf(join(folder.path, 'secret'))).toBe(0o600)
  })

  test('differs from server to server', async () => {
    await using one = await tempFolder()
    await using other = await tempFolder()
    const secrets = [await openSecret({ dataDir: one.path }), await openSecret({ dataDir: other.path })]
    expect(secrets[0]).not.toEqual(secrets[1])
  })

  test.each([
    ['empty', ''],
    ['too short', 'ab'.repeat(31)],
    ['not hexadecimal', 'correct horse battery staple, correct horse battery staple'],
  ])('stops the start if its file is %s, and the file is named', async (_title, text) => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'secret')
    await writeFile(path, text)
    await chmod(path, 0o600)
    const failure = await openSecret({ dataDir: folder.path }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(ConfigError)
    expect(failure).toHaveProperty('message', expect.stringContaining(path))
    if (text !== '') expect(failure).not.toHaveProperty('message', expect.stringContaining(text))
  })

  test('is one for both when two processes start together', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await using folder = await tempFolder()
      const [one, other] = await Promise.all([
        openSecret({ dataDir: folder.path }),
        openSecret({ dataDir: folder.path }),
      ])
      expect(one).toHaveLength(32)
      expect(other).toEqual(one)
      expect(await folder.names()).toEqual(['secret'])
    }
  })
})
