import { chmod, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/config.ts'
import { openSecret } from '../../src/secret.ts'
import { tempFolder } from '../support/temp-folder.ts'

/** How often two starts are let loose on one new folder: which of them is quicker is chance. */
const ROUNDS = 50

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

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
