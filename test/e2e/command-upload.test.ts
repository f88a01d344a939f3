import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { begin, type RunOptions, run, shell } from '../support/command.ts'
import { fixture, pathOfFixture, pngOfSize, tinyPng } from '../support/images.ts'
import { startProxy } from '../support/proxy.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'

let server: ServerProcess
let folder: TempFolder
let env: Record<string, string>
beforeAll(async () => {
  ;[server, folder] = await Promise.all([startServer(), tempFolder()])
  env = { LAYOVER_URL: server.url, LAYOVER_KEY: server.key() }
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const upload = (args: readonly string[], options: RunOptions = {}) =>
  run(['upload', ...args], { ...options, env: { ...env, ...options.env } })

const photos = ['photo.png', 'photo.jpg', 'photo.gif'].map(pathOfFixture)
const bytesAt = async (url: string) => Buffer.from(await (await fetch(url)).arrayBuffer())

/** A file in the folder of these tests. */
async function made(name: string, bytes: Buffer): Promise<string> {
  const path = join(folder.path, name)
  await writeFile(path, bytes)
  return path
}

describe('layover upload', () => {
  test('prints the URL of each file, in their order, and nothing else', async () => {
    const { code, stdout, stderr } = await upload(photos)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const urls = stdout.trimEnd().split('\n')
    expect(urls).toHaveLength(3)
    for (const [index, url] of urls.entries())
      expect((await bytesAt(url)).equals(await readFile(photos[index] ?? ''))).toBe(true)
  })

  test('can be put into a variable by a shell', async () => {
    const line =
      'url=$(layover upload photo.png) && curl -s --fail -o got.png "$url" && cmp got.png photo.png'
    await copyFile(pathOfFixture('photo.png'), join(folder.path, 'photo.png'))
    expect(await shell(line, { env, cwd: folder.path })).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  test('takes standard input as -, and a pipe by its name', async () => {
    const { code, stdout } = await upload(['-'], { input: fixture('photo.webp') })
    expect(code).toBe(0)
    expect((await bytesAt(stdout.trim())).equals(fixture('photo.webp'))).toBe(true)
    const ran = await shell(`layover upload <(cat ${photos[1]})`, { env })
    expect(ran).toMatchObject({ code: 0, stdout: expect.stringMatching(/\.jpg\n$/) })
    expect((await upload(['-', '-'])).code).toBe(2)
  })

  test('--json prints what the API says, and the file, an object a line', async () => {
    const { stdout } = await upload(['--json', '--expires-in', '1h', ...photos.slice(0, 2)])
    const [first, second, ...more] = stdout.split('\n')
    expect(more).toEqual([''])
    expect(JSON.parse(second ?? '').mime_type).toBe('image/jpeg')
    const facts = JSON.parse(first ?? '')
    expect(facts).toMatchObject({
      file: photos[0],
      id: expect.stringMatching(/^file_/),
      url: expect.stringMatching(/\.png$/),
      delete_url: expect.stringContaining('/delete/'),
      mime_type: 'image/png',
      size: fixture('photo.png').length,
    })
    expect(Math.abs(Date.parse(facts.expires_at) - Date.now() - 3_600_000)).toBeLessThan(30_000)
  })

  test('goes on after what cannot be uploaded, says why, and ends with 1', async () => {
    const notImage = await made('notes.txt', Buffer.from('no image at all, but text of some length'))
    const missing = join(folder.path, 'missing.png')
    const { code, stdout, stderr } = await upload([missing, notImage, folder.path, photos[0] ?? ''])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^http\S+\.png\n$/)
    const [ofMissing, ofText, ofFolder, ...more] = stderr.split('\n')
    expect(ofMissing).toBe(`${missing}: there is no such file`)
    const answer = await server.upload('photo.png', { fields: { expires_in: 'x' } })
    expect(answer.status).toBe(400)
    expect(ofText).toMatch(/notes\.txt: .*(JPEG|image)/)
    expect(ofFolder).toBe(`${folder.path}: it is a folder`)
    expect(more).toEqual([''])
  })

  test('ends at once with a wrong key', async () => {
    const { code, stdout, stderr } = await upload(photos, { env: { LAYOVER_KEY: 'sk-wrong' } })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^\S+photo\.png: .*key.* \(not tried: 2 more\)\n$/)
    expect(stderr).not.toContain('sk-wrong')
  })

  test('takes a key from a file, and from no option that others can see', async () => {
    const file = await made('key', Buffer.from(`${server.key()}\n`))
    expect((await upload(['--key-file', file, photos[0] ?? ''], { env: { LAYOVER_KEY: '' } })).code).toBe(0)
    const none = await upload(photos, { env: { LAYOVER_KEY: '' } })
    expect(none).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('LAYOVER_KEY is not set'),
    })
    expect((await upload(['--key', server.key(), ...photos])).code).toBe(2)
  })

  test('does not repeat an address with a password in it', async () => {
    const address = server.url.replace('//', '//me:secret@')
    const { code, stderr } = await upload(photos, { env: { LAYOVER_URL: address } })
    expect(code).toBe(2)
    expect(stderr).toContain('is no address like')
    expect(stderr).not.toContain('secret')
  })

  test('reads no .env: a folder that came from elsewhere cannot send the key elsewhere', async () => {
    await using trap = await fake(() => ({ status: 200, body: '{}' }))
    await writeFile(join(folder.path, '.env'), `LAYOVER_URL=${trap.url}\n`)
    const { LAYOVER_KEY = '' } = env
    await run(['upload', photos[0] ?? ''], { cwd: folder.path, env: { LAYOVER_KEY, LAYOVER_URL: '' } })
    expect(trap.asked).toEqual([])
  })

  test.each([
    ['--expires-in', 'soon'],
    ['--expires-in', '0'],
    ['--retries', '-1'],
    ['--url', 'ftp://x'],
    ['--nosuch'],
  ])('is not understood with %s %s', async (...option) => {
    const { code, stdout, stderr } = await upload([...option, photos[0] ?? ''])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: .*\n.*Usage: layover upload /s)
  })
})

describe('layover upload of too much', () => {
  const tooLarge = /^\S+: The file is too large: at most 20971520 bytes are taken\.\n$/

  test('says what the server says of a file of 30 MB, whether it is asked first or not', async () => {
    const file = await made('large.png', pngOfSize(30 * 1024 ** 2))
    const direct = await upload([file])
    expect(direct).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(tooLarge) })
    // A server that answers while the body is on its way.
    await using proxy = await startProxy({
      to: server.url,
      before: ({ headers }, response) => {
        if (headers.expect !== undefined) response.writeContinue()
        delete headers.expect
        return false
      },
    })
    const late = await upload([file], { env: { LAYOVER_URL: proxy.url } })
    // After a broken connection, if the proxy's end of it came first, and another try.
    expect(late.stderr.endsWith(direct.stderr)).toBe(true)
    expect(late.code).toBe(1)
  })

  test('ends what never ends on standard input', async () => {
    async function* endless() {
      yield tinyPng
      for (;;) yield Buffer.alloc(256 * 1024)
    }
    const { code, stdout, stderr } = await upload(['-'], { input: endless() })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    // Of the two limits, what comes at once decides which is met first.
    expect(stderr).toMatch(/^-: The (file|request body) is too large\b.*\n$/)
    expect((await server.files()).filter((name) => name.endsWith('.part'))).toEqual([])
  })

  test('does not wait for the end of a pipe when the server has refused', async () => {
    async function* stuck() {
      yield tinyPng
      await sleep(3_600_000, undefined, { ref: false })
    }
    const { code } = await upload(['-'], { input: stuck(), env: { LAYOVER_KEY: 'sk-wrong' } })
    expect(code).toBe(1)
  })
})

describe('layover upload tries again', () => {
  test.each([1024, 8 * 1024 ** 2])('after the time that a server asks for, with %i bytes', async (size) => {
    const file = await made(`${size}.png`, pngOfSize(size))
    let refusals = 0
    await using proxy = await startProxy({
      to: server.url,
      before: (_request, response) => {
        refusals += 1
        if (refusals === 1) response.writeHead(503, { 'retry-after': '1', connection: 'close' }).end()
        return refusals === 1
      },
    })
    const { code, stdout, stderr } = await upload([file], { env: { LAYOVER_URL: proxy.url } })
    // Of what comes while much is on its way, the connection's end may be seen first.
    expect(stderr).toMatch(/(503|breaks off).*trying again in 1 s/)
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^http\S+\.png\n$/),
      stderr,
    })
  })

  test('within a rate limit, but not beyond --retries, and not for longer than is of use', async () => {
    await using limited = await startServer({ env: { RATE_LIMIT: '1/2s' } })
    const place = { LAYOVER_URL: limited.url, LAYOVER_KEY: limited.key() }
    expect(await upload(photos, { env: place })).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('trying again'),
    })
    const hasty = await upload(['--retries', '0', ...photos], { env: place })
    expect(hasty.code).toBe(1)
    expect(hasty.stderr).not.toContain('trying again')

    await using closed = await startServer({ env: { QUOTA: '100B' } })
    const stingy = await upload([photos[0] ?? ''], {
      env: { LAYOVER_URL: closed.url, LAYOVER_KEY: closed.key() },
    })
    expect(stingy).toMatchObject({ code: 1, stderr: expect.not.stringContaining('trying again') })
  })

  test('when the connection breaks, with a file but not with what can be read only once', async () => {
    let broken = 0
    await using proxy = await startProxy({
      to: server.url,
      before: (request) => {
        broken += 1
        if (broken % 2 === 1) request.once('data', () => request.socket.destroy())
        return broken % 2 === 1
      },
    })
    const env = { LAYOVER_URL: proxy.url }
    const file = await upload([photos[0] ?? ''], { env })
    expect(file).toMatchObject({ code: 0, stderr: expect.stringMatching(/breaks off .*again/) })
    const piped = await upload(['-'], { env, input: tinyPng })
    expect(piped).toMatchObject({ code: 1, stdout: '' })
  })

  test('not where nothing listens, and says so once', async () => {
    const { code, stderr } = await upload(photos, { env: { LAYOVER_URL: 'http://127.0.0.1:9' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^\S+photo\.png: http:\/\/127\.0\.0\.1:9 does not answer.*\(not tried: 2 more\)\n$/,
    )
  })
})

describe('layover upload trusts no answer', () => {
  test('and takes the key to no other address', async () => {
    await using other = await fake(() => ({ status: 200, body: '{"url":"http://evil/x.png"}' }))
    await using redirecting = await fake(() => ({ status: 307, headers: { location: `${other.url}/` } }))
    const { code, stdout, stderr } = await upload([photos[0] ?? ''], {
      env: { LAYOVER_URL: redirecting.url },
    })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('redirected (307)')
    expect(other.asked).toEqual([])
  })

  test.each([
    ['a page', '<h1>Welcome</h1>'],
    ['no URL', '{"url":""}'],
    ['two lines', JSON.stringify({ url: 'http://a/b\nhttp://c/d' })],
    ['null', 'null'],
  ])('and prints none that has %s', async (_what, body) => {
    await using odd = await fake(() => ({ status: 200, body }))
    const { code, stdout } = await upload([photos[0] ?? ''], { env: { LAYOVER_URL: odd.url } })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  })

  test('and lets no text of others move the cursor', async () => {
    const message = 'no\u001b[2J\r\nhttp://forged/line'
    await using odd = await fake(() => ({ status: 400, body: JSON.stringify({ error: { message } }) }))
    const { stderr } = await upload([photos[0] ?? ''], { env: { LAYOVER_URL: odd.url } })
    expect(stderr).toMatch(/^[^\p{Cc}]*\n$/u)
  })
})

test.each([
  ['a "quoted" name.png', 'a %22quoted%22 name.png'],
  ['two\r\nlines: x.png', 'two%0D%0Alines: x.png'],
  ['ends with \\', 'ends with %5C'],
  ['图 ü.png', '图 ü.png'],
])('a file named %j is one parameter in one line of the form, and arrives', async (name, sent) => {
  const path = await made(name, tinyPng)
  await using capture = await fake(() => ({ status: 400, body: '{}' }))
  await upload([path], { env: { LAYOVER_URL: capture.url } })
  const [, disposition] = capture.asked[0]?.body.split('\r\n') ?? []
  expect(disposition).toBe(`Content-Disposition: form-data; name="file"; filename="${sent}"`)
  expect((await upload([path])).code).toBe(0)
})

describe('layover upload stops', () => {
  test('on Ctrl-C with 130, and leaves nothing behind', async () => {
    const before = await server.files()
    const child = begin(['upload', '-', photos[0] ?? ''], { env })
    const said = Promise.all([text(child.stdout), text(child.stderr)])
    child.stdin.write(pngOfSize(1024 ** 2))
    await eventually(async () => (await server.files()).some((name) => name.endsWith('.part')))
    child.kill('SIGINT')
    expect(await once(child, 'close')).toEqual([130, null])
    expect(await said).toEqual(['', ''])
    await eventually(async () => (await server.files()).length === before.length)
  })

  test('with 1, and says so, when the URL cannot be written', async () => {
    const { code, stderr } = await shell(`layover upload ${photos[0]} > /dev/full`, { env })
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'standard output: ENOSPC: no space left on device, write\n',
    })
  })

  test('not when nobody reads its notes', async () => {
    const child = begin(['upload', join(folder.path, 'missing.png'), photos[0] ?? ''], { env })
    child.stderr.destroy()
    const [stdout, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
    expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringMatching(/^http\S+\.png\n$/) })
  })

  test('when nobody reads what it prints', async () => {
    const before = (await server.files()).length
    const child = begin(['upload', ...Array(40).fill(photos[2])], { env })
    child.stdout.once('data', () => child.stdout.destroy())
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')])
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect((await server.files()).length).toBeLessThan(before + 40)
  })
})

test('layover upload holds no file in memory', { timeout: 60_000 }, async () => {
  await using roomy = await startServer({ env: { MAX_FILE_SIZE: '400MB' } })
  const file = await made('huge.png', pngOfSize(300 * 1024 ** 2))
  const args = ['--max-old-space-size=64', join(import.meta.dirname, '../../src/cli.ts'), 'upload', file]
  const child = spawn(
    '/usr/bin/env',
    ['bash', '-c', 'ulimit -v unlimited; exec "$@"', '-', process.execPath, ...args],
    {
      env: { PATH: process.env.PATH, LAYOVER_URL: roomy.url, LAYOVER_KEY: roomy.key() },
    },
  )
  let peak = 0
  const watch = setInterval(async () => {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0))
  }, 20)
  const [stdout, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  clearInterval(watch)
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/\.png\n$/) })
  expect(peak).toBeLessThan(200 * 1024)
})

interface Asked {
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** A server that answers all the same, and keeps what it was asked. */
async function fake(answer: () => { status: number; headers?: Record<string, string>; body?: string }) {
  const asked: Asked[] = []
  const fake = createServer(async (request, response) => {
    asked.push({ headers: request.headers, body: await text(request) })
    const { status, headers = {}, body = '' } = answer()
    response.writeHead(status, headers).end(body)
  }).listen(0, '127.0.0.1')
  await once(fake, 'listening')
  const { port } = fake.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      fake.closeAllConnections()
      await new Promise((resolve) => fake.close(resolve))
    },
  }
}
