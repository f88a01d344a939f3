import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { openSource } from '../../src/command/upload/source.ts'

const handles = async () => (await readdir('/proc/self/fd').catch(() => [])).length

test('a folder that was taken for an image is not left open', async () => {
  const before = await handles()
  for (let count = 0; count < 20; count += 1)
    await expect(openSource(tmpdir())).rejects.toThrow('it is a folder')
  expect(await handles()).toBeLessThan(before + 10)
})
