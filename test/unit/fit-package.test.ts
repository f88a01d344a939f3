import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isAllowed } from '../support/licences.ts'

/** What `npm run fit:install` installs: a package of its own, with a lockfile of its own, as a part of it is not permissive. */

const read = (name: string) => JSON.parse(readFileSync(join(import.meta.dirname, '../../fit', name), 'utf8'))
const manifest = read('package.json')
const { packages } = read('package-lock.json') as { packages: Record<string, Locked> }
const locked = Object.entries(packages).filter(([path]) => path !== '')

interface Locked {
  readonly version: string
  readonly integrity: string
  readonly resolved?: string
  readonly license: string
  readonly hasInstallScript?: boolean
}

test('is one version of the decoder, at least the one that mends what was found in its loaders', () => {
  expect(Object.keys(manifest.dependencies)).toEqual(['sharp'])
  expect(manifest.dependencies.sharp).toMatch(/^\d+\.\d+\.\d+$/)
  expect(packages['node_modules/sharp']?.version).toBe(manifest.dependencies.sharp)
  const [major = 0, minor = 0] = manifest.dependencies.sharp.split('.').map(Number)
  // CVE-2026-33327, -33328, -35590, -35591 and -69242.
  expect(major > 0 || minor >= 35).toBe(true)
})

test('comes from the registry, each with its digest, and runs no scripts', () => {
  expect(locked.length).toBeGreaterThan(10)
  for (const [path, { integrity, resolved = 'https://registry.npmjs.org/', hasInstallScript }] of locked) {
    expect({ path, integrity }).toEqual({ path, integrity: expect.stringMatching(/^sha512-[\w+/]{86}==$/) })
    expect(resolved.startsWith('https://registry.npmjs.org/')).toBe(true)
    expect({ path, hasInstallScript }).toEqual({ path, hasInstallScript: undefined })
  }
})

test('is permissive but for libvips, which is why it is no part of the server', () => {
  const others = locked.filter(([, { license }]) => !isAllowed(license, { isTool: false }))
  for (const [path, { license }] of others) {
    expect({ path, is: /libvips|wasm32|win32/.test(path) }).toEqual({ path, is: true })
    expect(license).toContain('LGPL-3.0-or-later')
  }
})

test('is on each platform that the server runs on', () => {
  const names = locked.map(([path]) => path)
  for (const platform of ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'])
    for (const part of [`sharp-${platform}`, `sharp-libvips-${platform}`])
      expect(names).toContain(`node_modules/@img/${part}`)
})
