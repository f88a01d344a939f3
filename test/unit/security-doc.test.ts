import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const text = readFileSync(join(root, 'SECURITY.md'), 'utf8')

/** Paths in a text: what stands between backticks and begins like one of ours. */
const pathsIn = (text: string) =>
  [...text.matchAll(/`((?:src|test|docs|bench|\.ci)\/[^`]*|[\w.-]+\.(?:md|json))`/g)].map(
    ([, path = '']) => path,
  )

const rows = [...text.matchAll(/^\| (R\d+) \|(.*)\|$/gm)].map(([, id = '', rest = '']) => {
  const [says = '', met = '', where = '', tested = ''] = rest.split('|').map((cell) => cell.trim())
  return { id, says, met, where: pathsIn(where), tested: pathsIn(tested) }
})

describe('SECURITY.md', () => {
  test('has each requirement once, in its order', () => {
    expect(rows.map(({ id }) => id)).toEqual(Array.from({ length: 43 }, (_, index) => `R${index + 1}`))
  })

  test.each(rows)(
    'says of $id what holds, how far, where, and which test shows it',
    ({ says, met, where, tested }) => {
      expect(says).toMatch(/\.$/)
      expect(['met', 'in part']).toContain(met)
      expect(where.length).toBeGreaterThan(0)
      expect(tested.length).toBeGreaterThan(0)
      expect(tested.filter((path) => !/^(test|bench)\//.test(path))).toEqual([])
    },
  )

  test('gives the reason for whatever is met in part, and for nothing else', () => {
    const reasons = [...text.matchAll(/^- (R\d+): \S/gm)].map(([, id]) => id)
    expect(reasons).toEqual(rows.filter(({ met }) => met === 'in part').map(({ id }) => id))
  })

  test('names no file that is not there', () => {
    const ofServer = ['keys.json']
    const missing = pathsIn(text).filter((path) => !ofServer.includes(path) && !existsSync(join(root, path)))
    expect(missing).toEqual([])
  })
})
