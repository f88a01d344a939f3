import { execFile } from 'node:child_process'
import { chown, mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startFaultyS3 } from '../support/faulty-s3.ts'
import { placeOf } from '../support/place.ts'
import { type ProxyOptions, startProxy } from '../support/proxy.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

const cli = join(import.meta.dirname, '../../src/cli.ts')

let server: ServerProcess
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

/** What doctor prints, by title, and how it ends. */
async function doctor(env: Record<string, string>) {
  const dir = env.DATA_DIR ?? server.dataDir
  const all = {
    PATH: process.env.PATH,
    DATA_DIR: dir,
    PORT: new URL(server.url).port,
    ...placeOf(dir).env,
    ...env,
  }
  const { promise, resolve } = Promise.withResolvers<{ code: number; output: string }>()
  execFile(
    process.execPath,
    [cli, 'doctor'],
    { env: all, cwd: tmpdir(), timeout: 60_000 },
    (error, ...texts) => resolve({ code: error === null ? 0 : Number(error.code), output: texts.join('') }),
  )
  const { code, output } = await promise
  const lines = output.trimEnd().split('\n')
  // A line a check, and nothing else.
  for (const line of lines) expect(line).toMatch(/^[✓✗–] [A-Za-z][\w .-]*: \S/)
  const titled = (mark: string) =>
    lines.filter((line) => line.startsWith(mark)).map((line) => line.slice(2, line.indexOf(': ')))
  const about = (title: string) => lines.find((line) => line.slice(2).startsWith(`${title}: `)) ?? ''
  return { code, output, about, wrong: titled('✗'), skipped: titled('–') }
}

/** What it prints of a server behind a proxy. */
async function behind(options: Omit<ProxyOptions, 'to'>, env: Record<string, string> = {}) {
  await using proxy = await startProxy({ to: server.url, ...options })
  return await doctor({ PUBLIC_URL: proxy.url, ...env })
}

const isImage = (url = '') => url.startsWith('/uploads/')

describe('doctor finds nothing wrong', () => {
  test('with a server that works, and leaves nothing behind', async () => {
    const { code, wrong, about, skipped } = await doctor({})
    expect({ code, wrong }).toEqual({ code: 0, wrong: [] })
    expect(about('fetched by OpenAI')).toMatch(/^✓/)
    expect(about('address')).toMatch(/^– .*no model can fetch.*localhost.*PUBLIC_URL/)
    expect(skipped).toEqual(placeOf(server.dataDir).env.STORE === 's3' ? ['address'] : ['clock', 'address'])
    expect(await server.files()).toEqual([])
  })

  test('with a proxy that changes nothing, and a real upload through it', async () => {
    const { code, wrong, about } = await behind({}, { LAYOVER_KEY: server.key() })
    expect({ code, wrong }).toEqual({ code: 0, wrong: [] })
    expect(about('uploads')).toBe('✓ uploads: of 20 MB pass')
    expect(await server.files()).toEqual([])
  })
})

describe('doctor says what a proxy does', () => {
  test('that lets no body of more than 1 MB pass', async () => {
    const { code, wrong, about } = await behind({ limit: 1024 * 1024 })
    expect({ code, wrong }).toEqual({ code: 1, wrong: ['uploads'] })
    expect(about('uploads')).toMatch(/413.*MAX_FILE_SIZE.*client_max_body_size/)
  })

  test('that notices the size only as it comes, if there is a key to upload with', async () => {
    const streamLimit = 1024 * 1024
    expect((await behind({ streamLimit })).wrong).toEqual([])
    expect((await behind({ streamLimit }, { LAYOVER_KEY: server.key() })).wrong).toEqual(['uploads'])
    expect(await server.files()).toEqual([])
  })

  const cases: [string, string[], Omit<ProxyOptions, 'to'>][] = [
    [
      'that has a Content-Type of its own',
      ['Content-Type'],
      {
        after: ({ headers }, { url }) => {
          if (isImage(url)) headers['content-type'] = 'application/octet-stream'
        },
      },
    ],
    [
      'that answers OpenAI with 403',
      ['fetched by OpenAI'],
      {
        before: ({ headers }, response) => {
          const isBlocked = headers['user-agent']?.includes('OpenAI') ?? false
          if (isBlocked) response.writeHead(403).end()
          return isBlocked
        },
      },
    ],
    [
      'that wants a User-Agent',
      ['fetched by no User-Agent'],
      {
        before: ({ headers }, response) => {
          const isBlocked = headers['user-agent'] === undefined
          if (isBlocked) response.writeHead(403).end()
          return isBlocked
        },
      },
    ],
    [
      'that has a robots.txt of its own',
      ['robots.txt'],
      {
        before: ({ url }, response) => {
          const isRobots = url === '/robots.txt'
          if (isRobots) response.end('User-agent: Google-Extended\nDisallow: /\n\nUser-agent: *\nAllow: /\n')
          return isRobots
        },
      },
    ],
    [
      'that lets nobody see robots.txt',
      ['robots.txt'],
      {
        before: ({ url }, response) => {
          if (url === '/robots.txt') response.writeHead(403).end()
          return url === '/robots.txt'
        },
      },
    ],
    [
      'that drops Range',
      ['Range'],
      {
        before: ({ headers }) => {
          delete headers.range
          return false
        },
      },
    ],
    [
      'that knows no HEAD',
      ['HEAD'],
      {
        before: ({ method }, response) => {
          if (method === 'HEAD') response.writeHead(405).end()
          return method === 'HEAD'
        },
      },
    ],
    [
      'that keeps lengths to itself',
      ['Content-Length'],
      {
        after: ({ headers }, { url }) => {
          if (isImage(url)) delete headers['content-length']
        },
      },
    ],
  ]
  test.each(cases)('%s: %j', async (_what, lines, options) => {
    const { code, wrong } = await behind(options)
    expect({ code, wrong }).toEqual({ code: 1, wrong: lines })
  })

  test('that sends fetchers elsewhere', async () => {
    const { wrong, about } = await behind({
      before: ({ url }, response) => {
        if (isImage(url)) response.writeHead(302, { location: `${server.url}${url}` }).end()
        return isImage(url)
      },
    })
    expect(wrong).toContain('GET')
    expect(about('GET')).toMatch(/redirected \(302\)/)
  })

  test('that leads to no Layover at all, though one runs', async () => {
    const { wrong, about } = await behind({
      before: (_request, response) => response.end('Welcome') !== undefined,
    })
    expect(wrong).toEqual(['server'])
    expect(about('server')).toMatch(/runs at http:\/\/127\.0\.0\.1:\d+, but what answers/)
  })
})

describe('doctor says what is wrong', () => {
  test('with a disk that is nearly full', async () => {
    const { code, wrong, about } = await doctor({ MIN_FREE_SPACE: '100000GB' })
    expect({ code, wrong }).toEqual({ code: 1, wrong: ['free space'] })
    expect(about('free space')).toMatch(/MB below MIN_FREE_SPACE.*uploads are refused/)
  })

  test('with a server that does not run, in one line, and goes on', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => holder.once('listening', resolve))
    const { port } = holder.address() as import('node:net').AddressInfo
    await new Promise((resolve) => holder.close(resolve))
    const { code, wrong, skipped, about } = await doctor({ PORT: String(port) })
    expect({ code, wrong }).toEqual({ code: 1, wrong: ['server'] })
    expect(about('server')).toMatch(/is not running.*npm start/)
    expect(skipped).toEqual(expect.arrayContaining(['uploads', 'images']))
    expect(about('store')).toMatch(/^✓/)
    expect(await server.files()).toEqual([])
  })

  test('with a wrong key to the bucket, with counts that do not answer, and shows no secret', async () => {
    await using s3 = await startFaultyS3()
    for (const operation of ['ListObjectsV2', 'HeadBucket', 'PutObject'] as const)
      s3.fail(operation, { status: 403, code: 'InvalidAccessKeyId' }, 100)
    const secrets = {
      S3_SECRET_ACCESS_KEY: 'canary-of-the-bucket',
      SECRET: 'canary-of-the-owner-marks-0123456789',
      LAYOVER_KEY: 'canary-of-the-key-0123456789',
    }
    const { code, wrong, about, output } = await doctor({
      ...{ STORE: 's3', S3_ENDPOINT: s3.endpoint, S3_BUCKET: 'bucket', S3_ACCESS_KEY_ID: 'unknown' },
      REDIS_URL: 'redis://:canary-of-the-counts@127.0.0.1:9',
      ...secrets,
    })
    expect({ code, wrong }).toEqual({ code: 1, wrong: ['store', 'counts', 'uploads'] })
    expect(about('store')).toContain('S3_ACCESS_KEY_ID: the store does not know this key')
    expect(about('uploads')).toContain('LAYOVER_KEY')
    expect(about('clock')).toMatch(/^✓/)
    expect(output).not.toContain('canary')
  })

  test('with a data folder that cannot be one', async () => {
    const DATA_DIR = cli
    const { wrong, about } = await doctor({ DATA_DIR, STORE: 'local' })
    expect(wrong).toEqual(expect.arrayContaining(['free space', 'store']))
    expect(about('store')).toMatch(/DATA_DIR: .*must be a folder/)
  })

  test('with a configuration that cannot be used, and ends there', async () => {
    const { code, output } = await doctor({ MAX_FILE_SIZE: 'big', SECRET: 'canary' })
    expect(code).toBe(1)
    expect(output).toMatch(/^✗ configuration: .*MAX_FILE_SIZE: .*\n$/)
    expect(output).not.toContain('canary')
  })

  test('with another server’s address as the public one', async () => {
    await using other = await startServer()
    const { wrong, about } = await doctor({ PUBLIC_URL: other.url })
    expect(wrong).toContain('GET')
    expect(about('GET')).toContain('404')
  })
})

test.skipIf(process.getuid?.() !== 0)(
  'doctor as root makes no folder that the server, as somebody else, could not use',
  async () => {
    const parent = await mkdtemp(join(tmpdir(), 'layover-'))
    await chown(parent, 65_534, 65_534)
    const { code, wrong, about } = await doctor({ DATA_DIR: join(parent, 'new', 'data') })
    expect(code).toBe(1)
    expect(wrong).toEqual(expect.arrayContaining(['free space', 'store']))
    expect(about('store')).toMatch(/DATA_DIR: .*data is missing.*start the server/)
    expect(await readdir(parent)).toEqual([])
    await rm(parent, { recursive: true, force: true })
  },
)

test('doctor in a new folder makes nothing that a first start would miss', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'layover-'))
  expect((await doctor({ DATA_DIR: dir })).about('store')).toMatch(/^✓/)
  await using first = await startServer({ dataDir: dir })
  expect(first.key()).toMatch(/^sk-layover-/)
  await rm(dir, { recursive: true, force: true })
})
