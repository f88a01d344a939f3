import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseEnv } from 'node:util'
import { describe, expect, test } from 'vitest'
import { loadConfig, variableNames } from '../../src/config.ts'
import { documents } from '../support/documents.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

describe('the documentation is true', () => {
  test('.env.example names every variable, with its default', () => {
    const example = parseEnv(read('.env.example'))
    expect(Object.keys(example).sort()).toEqual([...variableNames].sort())
    expect(loadConfig(example)).toEqual(loadConfig({}))
  })

  test('docs/configuration.md has a row for every variable, with its default, and for no other', () => {
    const example = parseEnv(read('.env.example'))
    const rows = [...read('docs/configuration.md').matchAll(/^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`)?[^|]*\|/gm)]
    expect(rows.map(([, name]) => name).sort()).toEqual([...variableNames].sort())
    for (const [, name = '', value = ''] of rows)
      expect({ name, value }).toEqual({ name, value: example[name] })
  })

  test.each([...documents, 'SECURITY.md', 'CHANGELOG.md'])('every link of %s leads somewhere', (page) => {
    const links = [...read(page).matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, link = '']) => link)
    const broken = links.filter(
      (link) => !link.startsWith('http') && !existsSync(join(root, dirname(page), link)),
    )
    expect(broken).toEqual([])
  })

  test('README.md names the tests that keep each promise', () => {
    const [, section = ''] = read('README.md').split('\n## Promises\n')
    const rows = [...section.matchAll(/^\| (.+?\.) \|(.*)\|$/gm)]
    expect(rows.length).toBe(6)
    for (const [, promise, tests = ''] of rows) {
      const links = [...tests.matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link)
      expect({ promise, links: links.length }).not.toEqual({ promise, links: 0 })
      expect(links.filter((link) => !/^test\/.+\.ts$/.test(link))).toEqual([])
    }
  })

  test('README.md starts with the two commands, and package.json has what they run', () => {
    const [screen = ''] = read('README.md').split('\n## API')
    expect(screen).toContain('npm ci && npm start')
    expect(screen).toContain('npm ci && npm test')
    expect(JSON.parse(read('package.json')).scripts).toMatchObject({
      start: expect.stringMatching(/^exec node [-=\w ]+ src\/main\.ts$/),
      test: 'vitest run',
    })
  })
})
