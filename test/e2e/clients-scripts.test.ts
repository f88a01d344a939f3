import { symlink } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pythonWithOpenai } from '../support/python.ts'
import { expectPhotoAt, type Folder, folder, has, run, servedFile } from '../support/served-clients.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

/** What `GET /clients` gives out is run as it comes, with nothing changed but the key. */

let server: ServerProcess
let here: Folder
beforeAll(async () => {
  server = await startServer()
  here = await folder()
})
afterAll(async () => {
  await here[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const served = (path: string, key = server.key()) => servedFile(server.url, path, key)

/** Saves a served program, and gives the command that runs it. */
const programs: Record<string, { path: string; command: (file: string) => string[]; needs: string[] }> = {
  'Typora’s command': { path: 'typora/layover.sh', command: (file) => ['sh', file], needs: ['curl', '-V'] },
  'Python with requests': {
    path: 'python/layover.py',
    command: (file) => ['python3', file],
    needs: ['python3', '-c', 'import requests'],
  },
  'Node.js': {
    path: 'node/layover.mjs',
    command: (file) => [process.execPath, file],
    needs: ['node', '--version'],
  },
  Go: { path: 'go/layover.go', command: (file) => ['go', 'run', file], needs: ['go', 'version'] },
}

/** What is not on the machine cannot be tried; `.ci/run` has all of it. */
const missing = new Set<string>()
for (const [name, { needs }] of Object.entries(programs)) {
  const [program = '', ...args] = needs
  if (!(await has(program, ...args))) missing.add(name)
}
if (process.env.CI && missing.size > 0)
  throw new Error(`CI must be able to run ${[...missing].join(' and ')}`)
for (const name of missing)
  console.warn(`\n*** NOT TESTED: the program for ${name} cannot be run here. ***\n`)

describe.each(Object.entries(programs))('the program for %s', (name, { path, command }) => {
  const save = async (key?: string) =>
    command(await here.write(path.slice(path.indexOf('/') + 1), await served(path, key)))

  test.skipIf(missing.has(name))('uploads images, and prints their URLs, one a line', async () => {
    const names = ['photo.jpg', 'a photo; type=text "x", 图片.jpg']
    const photos = await Promise.all(names.map((name) => here.photo(name)))
    const { code, stdout, stderr } = await run([...(await save()), ...photos], here)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const urls = stdout.trimEnd().split(/\r?\n/)
    expect(urls).toHaveLength(2)
    for (const url of urls) await expectPhotoAt(url)
  })

  test.skipIf(missing.has(name))('says why an image was refused, and prints nothing else', async () => {
    const { code, stdout, stderr } = await run([...(await save('wrong')), 'photo.jpg'], here)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('This key is not known here.')
  })

  test.skipIf(missing.has(name))('takes the key from LAYOVER_KEY', async () => {
    const key = { LAYOVER_KEY: server.key() }
    const { stdout } = await run([...(await save('wrong')), 'photo.jpg'], here, key)
    await expectPhotoAt(stdout.trim())
  })
})

const python = await pythonWithOpenai()

const hasCurl = await has('curl', '-V')

describe('the lines for curl', () => {
  test.skipIf(!hasCurl)('upload with -F', async () => {
    const { stdout } = await run(['sh', '-c', await served('curl/form.sh')], here)
    const answer = JSON.parse(stdout)
    expect(answer).toEqual({ success: true, message: '', data: expect.any(String) })
    await expectPhotoAt(answer.data)
  })

  test.skipIf(!hasCurl)('upload with -T', async () => {
    const { stdout } = await run(['sh', '-c', await served('curl/link.sh')], here)
    await expectPhotoAt(stdout.trim())
  })
})

describe('the lines for curl that use a link', () => {
  test.skipIf(!hasCurl)('say why there is none, and print no URL', async () => {
    const refused = await run(['sh', '-c', await served('curl/link.sh', 'wrong')], here)
    expect({ ...refused, code: refused.code !== 0 }).toEqual({
      code: true,
      stdout: '',
      stderr: expect.stringContaining('This key is not known here.'),
    })
  })

  test.skipIf(!hasCurl)('print no URL of an image that was not taken', async () => {
    await here.write('text.jpg', 'text, and no image')
    const lines = (await served('curl/link.sh')).replace('photo.jpg', 'text.jpg')
    const refused = await run(['sh', '-c', lines], here)
    expect({ ...refused, code: refused.code !== 0 }).toEqual({
      code: true,
      stdout: '',
      stderr: expect.stringContaining('The bytes are not a JPEG'),
    })
  })
})

describe.each([
  ['Node.js', 'openai/ask.mjs', process.execPath, true],
  ['Python', 'openai/ask.py', python ?? '', python !== undefined],
])('OpenAI’s client for %s', (name, path, program, isThere) => {
  if (!isThere) console.warn(`\n*** NOT TESTED: OpenAI’s client for ${name} is not installed. ***\n`)

  test.skipIf(!isThere)('uploads an image and shows it to a model, which fetches it', async () => {
    const seen: string[] = []
    const model = createServer(async (request, response) => {
      const { messages } = (await json(request)) as {
        messages: { content: { image_url?: { url: string } }[] }[]
      }
      seen.push(...(messages[0]?.content ?? []).flatMap(({ image_url }) => image_url?.url ?? []))
      const message = { role: 'assistant', content: 'A photo.' }
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ id: '1', choices: [{ index: 0, finish_reason: 'stop', message }] }))
    }).listen(0, '127.0.0.1')
    await symlink(join(import.meta.dirname, '../../node_modules'), join(here.path, 'node_modules')).catch(
      () => {},
    )
    const file = await here.write(path.slice(path.indexOf('/') + 1), await served(path))
    const env = {
      OPENAI_API_KEY: 'any',
      OPENAI_BASE_URL: `http://127.0.0.1:${(model.address() as AddressInfo).port}/v1`,
    }
    const { stdout, stderr } = await run([program, file, 'photo.jpg'], here, env)
    model.close()
    expect({ stdout, stderr }).toEqual({ stdout: 'A photo.\n', stderr: '' })
    expect(seen).toHaveLength(1)
    await expectPhotoAt(seen[0] ?? '')
  })
})
