import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { terminal } from '../support/command.ts'
import { pngOfSize } from '../support/images.ts'
import { startServer } from '../support/server.ts'
import { tempFolder } from '../support/temp-folder.ts'

/** Where `script`, which has a terminal to give, takes these options. */
const hasTerminals = process.platform === 'linux'
if (!hasTerminals) console.warn('*** NOT TESTED: layover upload on a terminal, for want of util-linux. ***')

async function place() {
  const [server, folder] = await Promise.all([startServer(), tempFolder()])
  await writeFile(join(folder.path, 'photo.png'), pngOfSize(8 * 1024 ** 2))
  const env = { LAYOVER_URL: server.url, LAYOVER_KEY: server.key() }
  return {
    show: (line: string, more = {}) => terminal(line, { env: { ...env, ...more }, cwd: folder.path }),
    read: (name: string) => readFile(join(folder.path, name), 'utf8'),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

test.skipIf(!hasTerminals)(
  'on a terminal, an upload shows a bar with size and speed, and then the URL',
  async () => {
    await using at = await place()
    const { code, stdout } = await at.show('layover upload photo.png')
    expect(code).toBe(0)
    const looks = stdout.split('\r\u001b[K')
    // From the beginning to the end, each in place of the one before.
    expect(looks.length).toBeGreaterThanOrEqual(3)
    expect(looks[1]).toMatch(/^photo\.png {2}░{20} {3}0% {2}0 B of 8\.0 MB {2}0 B\/s$/)
    expect(looks.at(-1)).toMatch(
      /^photo\.png {2}█{20} 100% {2}8\.0 MB of 8\.0 MB {2}[\d.]+ [KMG]?B\/s\r\nhttp\S+\.png\r\n$/,
    )
    for (const look of looks) expect(look.split('\r\n')[0]?.length).toBeLessThan(100)
  },
)

test.skipIf(!hasTerminals)('on a terminal, what is piped on is the URL alone', async () => {
  await using at = await place()
  const { stdout } = await at.show('layover upload photo.png > urls.txt')
  expect(stdout).toContain('100%')
  expect(await at.read('urls.txt')).toMatch(/^http\S+\.png\n$/)
  const { stdout: piped } = await at.show('cat photo.png | layover upload - | cat > urls.txt')
  expect(piped).toMatch(/stdin {2}8\.0 MB {2}[\d.]+ [KMG]?B\/s\r\n$/)
  expect(await at.read('urls.txt')).toMatch(/^http\S+\.png\n$/)
})

test.skipIf(!hasTerminals)('on a terminal, what failed leaves its reason and no bar', async () => {
  await using at = await place()
  const { code, stdout } = await at.show('layover upload photo.png', { LAYOVER_KEY: 'sk-wrong' })
  expect(code).toBe(1)
  expect(stdout.split('\r\u001b[K').at(-1)).toMatch(/^photo\.png: .*key.*\r\n$/)
})

test.skipIf(!hasTerminals)(
  'there is no bar with --no-progress, or on a terminal that cannot go back',
  async () => {
    await using at = await place()
    const onlyUrl = /^http\S+\.png\r\n$/
    expect((await at.show('layover upload --no-progress photo.png')).stdout).toMatch(onlyUrl)
    expect((await at.show('layover upload photo.png', { TERM: 'dumb' })).stdout).toMatch(onlyUrl)
  },
)
