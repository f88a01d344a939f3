import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'
import { startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { tempFolder } from '../support/temp-folder.ts'

const run = promisify(execFile)
const cli = join(import.meta.dirname, '../../src/cli.ts')

/** Runs `layover keys …` as a process of its own, in a folder where no `.env` counts. */
function keys(dataDir: string, ...args: string[]) {
  const env = { PATH: process.env.PATH, DATA_DIR: dataDir }
  return run(process.execPath, [cli, 'keys', ...args], { env, cwd: dataDir })
}

test('a key that is made while the server runs works at once, and no longer than until it is revoked', async () => {
  await using server = await startServer({ env: { LOG_LEVEL: 'trace' } })
  const { stdout, stderr } = await keys(server.dataDir, 'create', '--name', 'alice', '--max-lifetime', '1h')
  expect(stdout).toMatch(/^sk-layover-[\w-]{32}\n$/)
  const key = stdout.trim()
  expect(stderr).not.toContain(key)

  await sleep(1100)
  const answer = await server.upload('photo.png', { key })
  expect(answer.status).toBe(200)
  const expires = Date.parse(answer.headers.get('x-layover-expires-at') ?? '')
  expect(Math.abs(expires - Date.now() - 3_600_000)).toBeLessThan(10_000)
  expect((await server.upload('photo.png', { key, fields: { expires_in: '3601' } })).status).toBe(400)
  expect((await server.upload('photo.png', { key, fields: { expires_in: '60' } })).status).toBe(200)

  const list = await keys(server.dataDir, 'list')
  expect(list.stdout).toMatch(new RegExp(`alice +…${key.slice(-4)} .* 1h `))
  expect(list.stdout).not.toContain(key)

  await keys(server.dataDir, 'revoke', 'alice')
  await sleep(1100)
  expect((await server.upload('photo.png', { key })).status).toBe(401)
  expect((await server.upload('photo.png')).status).toBe(200)

  const log = server
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .join('\n')
  expect(log).toContain('"key":"alice"')
  for (const secret of [key, server.key()]) expect(log).not.toContain(secret.slice('sk-layover-'.length, -4))
})

test('two keys that are made at once both work', async () => {
  await using folder = await tempFolder()
  const made = await Promise.all(
    ['a', 'b', 'c', 'd'].map((name) => keys(folder.path, 'create', '--name', name)),
  )
  await using server = await startServer({ dataDir: folder.path })
  expect(server.key()).toBe('')
  for (const { stdout } of made)
    expect((await server.upload('photo.gif', { key: stdout.trim() })).status).toBe(200)
})

test('a command that cannot be carried out says why, and ends with its own status', async () => {
  await using folder = await tempFolder()
  await keys(folder.path, 'create', '--name', 'alice')
  const failure = (...args: string[]) => keys(folder.path, ...args).catch((error) => error)
  expect(await failure('create', '--name', 'alice')).toMatchObject({ code: 1, stdout: '' })
  expect(await failure('create', '--name', 'a b')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/--name: .*Usage/s),
  })
  expect(await failure('create', '--nmae', 'x')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/Usage/),
  })
})

test('with AUTH_UPSTREAM_URL, who has a key of the gateway may upload, and nobody else', async () => {
  await using gateway = await startGateway()
  await using server = await startServer({ env: { AUTH_UPSTREAM_URL: gateway.url, LOG_LEVEL: 'trace' } })
  expect((await server.upload('photo.jpg', { key: 'good-key-of-the-gateway' })).status).toBe(200)
  expect((await server.upload('photo.jpg', { key: 'bad-key-of-the-gateway' })).status).toBe(401)
  expect(gateway.asked).toEqual(['good-key-of-the-gateway', 'bad-key-of-the-gateway'])
  gateway.answer = (_key, _request, response) => response.writeHead(500).end()
  const answer = await server.upload('photo.jpg', { key: 'late-key-of-the-gateway' })
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
  await eventually(() => server.output().includes('answered 500'))
  expect(server.output()).not.toContain('key-of-the-gateway')
  expect((await keys(server.dataDir, 'list')).stdout).not.toContain('first')
})
