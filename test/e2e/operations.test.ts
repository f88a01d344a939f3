import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { authorization } from '../support/app.ts'
import { fixture, sha256, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY } from '../support/ways.ts'

/** What docs/operations.md promises an operator. */

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/operations.md'), 'utf8')
/** What stands below a heading, up to the next one. */
const section = (title: string) => page.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? ''

let folder: TempFolder
beforeEach(async () => {
  folder = await tempFolder()
})
afterEach(() => folder[Symbol.asyncDispose]())

const json = { 'content-type': 'application/json' }

/** An upload with the tests' key: the path and id of the image, and what its delete link has behind the address. */
async function upload({ url }: ServerProcess, key = authorization) {
  const { body, contentType } = uploadOf(fixture('photo.jpg'))
  const headers = { authorization: key, 'content-type': contentType }
  const { status, body: answer } = await call(`${url}/v1/files/uploads`, { method: 'POST', headers, body })
  expect(status).toBe(200)
  const image = JSON.parse(String(answer))
  const link = new URL(image.delete_url)
  return { path: new URL(image.url).pathname, id: image.id, link: link.pathname + link.search }
}

/** A link to upload to, and the path of its image. */
async function order({ url }: ServerProcess) {
  const body = JSON.stringify({ content_type: 'image/png', size: tinyPng.length })
  const answer = await call(`${url}/v1/files/uploads/presign`, { method: 'POST', headers: json, body })
  const { upload_url, url: imageUrl } = JSON.parse(String(answer.body))
  const link = new URL(upload_url)
  return { link: link.pathname + link.search, path: new URL(imageUrl).pathname }
}

const send = (url: string) =>
  call(url, { method: 'PUT', headers: { 'content-type': 'image/png' }, body: tinyPng })

test('a backup by the commands of the page, restored into an empty folder, is the same server', async () => {
  const [, commands = ''] = /```sh[^\n]*\n([^`]+)```/.exec(section('Backup')) ?? []
  const [backup = '', restore = ''] = commands.trim().split('\n')
  const shell = (command: string) => promisify(execFile)('sh', ['-ec', command], { cwd: folder.path })

  await using first = await startServer({ dataDir: join(folder.path, 'data') })
  const key = `Bearer ${first.key()}`
  const image = await upload(first, key)
  await shell(backup)
  await first.stop('SIGKILL')

  await shell(restore)
  // A copy of a database that is written to may be none.
  expect((await readdir(join(folder.path, 'restored'))).filter((name) => /sqlite/.test(name))).toEqual([])
  await using second = await startServer({ dataDir: join(folder.path, 'restored') })
  expect(second.key()).toBe('')
  const back = await call(second.url + image.path)
  expect(sha256(back.body)).toBe(sha256(fixture('photo.jpg')))
  const headers = { authorization: key }
  expect((await call(`${second.url}/v1/files/uploads/${image.id}`, { headers })).status).toBe(200)
  expect((await call(second.url + image.link, { method: 'DELETE' })).status).toBe(200)
  await upload(second, key)
})

test('another SECRET leaves images and keys, and ends links and marks, as the page says', async () => {
  const env = { ...OWN_KEY, QUOTA: '100MB' }
  const usedBy = async ({ url }: ServerProcess) =>
    JSON.parse(String((await call(`${url}/v1/files/usage`)).body)).quota.used
  await using first = await startServer({
    dataDir: folder.path,
    env: { ...env, SECRET: 'the-first-secret-of-32-characters!' },
  })
  const image = await upload(first)
  const [unused, used] = [await order(first), await order(first)]
  expect((await send(first.url + used.link)).status).toBe(200)
  const before = await usedBy(first)
  await first.stop('SIGTERM')

  await using second = await startServer({
    dataDir: folder.path,
    env: { ...env, SECRET: 'the-second-secret-of-32-characters' },
  })
  const status = async (path: string, method = 'GET') => (await call(second.url + path, { method })).status
  expect(await status(image.path)).toBe(200)
  expect(await status(used.path)).toBe(200)
  expect(before).toBeGreaterThan(0)
  expect(await usedBy(second)).toBe(before)

  const refused = await call(second.url + image.link, { method: 'DELETE' })
  expect([refused.status, JSON.parse(String(refused.body)).error.code]).toEqual([404, 'delete_link_wrong'])
  expect(await status(`/v1/files/uploads/${image.id}`)).toBe(404)
  expect(await status(`/v1/files/uploads/${image.id}`, 'DELETE')).toBe(404)
  expect((await send(second.url + unused.link)).status).toBe(403)

  const since = await upload(second)
  const list = JSON.parse(String((await call(`${second.url}/v1/files/uploads`)).body))
  expect(list.data.map(({ id }: { id: string }) => id)).toEqual([since.id])
})

test('another key is another owner, and takes no image or delete link away', async () => {
  const old = await startServer({ dataDir: folder.path, env: OWN_KEY })
  const image = await upload(old)
  await old.stop('SIGTERM')
  const key = 'another-key-of-24-charact'
  await using server = await startServer({ dataDir: folder.path, env: { API_KEYS: `tester-2:${key}` } })
  const headers = { authorization: `Bearer ${key}` }
  expect((await call(server.url + image.path)).status).toBe(200)
  expect((await call(`${server.url}/v1/files/uploads/${image.id}`, { headers })).status).toBe(404)
  expect((await call(server.url + image.link, { method: 'DELETE', headers })).status).toBe(200)
})

describe('docs/operations.md', () => {
  test('says of each alert what it means and what to do, and of no other', () => {
    const { groups } = parse(readFileSync(join(root, 'docs/alerts.yml'), 'utf8'))
    const alerts = groups.flatMap(({ rules }: { rules: { alert: string }[] }) =>
      rules.map(({ alert }) => alert),
    )
    const rows = [...section('Alerts').matchAll(/^\| `(\w+)` \| (.+) \| (.+) \|$/gm)]
    expect(rows.map(([, name]) => name)).toEqual(alerts)
    for (const [, name, meaning, remedy] of rows)
      expect({ name, isSaid: `${meaning}`.length > 30 && `${remedy}`.length > 30 }).toEqual({
        name,
        isSaid: true,
      })
  })
})
