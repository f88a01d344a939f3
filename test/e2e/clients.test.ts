import { execFile } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fixture, pathOfFixture, photos, sha256 } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

const run = promisify(execFile)

let server: ServerProcess
beforeAll(async () => {
  server = await startServer({ env: { LOG_LEVEL: 'trace' } })
})
afterAll(async () => {
  const output = server.output().replace(/curl -H .*|^ +sk-layover-.*/gm, '')
  await server[Symbol.asyncDispose]()
  // After the notice of the first start, the key appears nowhere, at the most talkative level either.
  expect(output).not.toContain('sk-layover-')
})

type Upload = (file: string, mediaType: string) => Promise<string>

const PYTHON = `
import json, sys, requests
url, key, path = sys.argv[1:]
with open(path, 'rb') as file:
    answer = requests.post(url, headers={'Authorization': 'Bearer ' + key}, files={'file': file})
print(answer.text)
`

/** Uploads a file as each client's own documentation shows it, and answers what came back. */
const clients: Record<string, Upload> = {
  curl: async (file) => {
    const { stdout } = await run('curl', [
      '--silent',
      ...['--header', `Authorization: Bearer ${server.key()}`],
      ...['--form', `file=@${pathOfFixture(file)}`],
      `${server.url}/api/upload`,
    ])
    return stdout
  },
  'Python requests': async (file) => {
    const { stdout } = await run('python3', [
      '-c',
      PYTHON,
      `${server.url}/api/upload`,
      server.key(),
      pathOfFixture(file),
    ])
    return stdout
  },
  'Node fetch': async (file, type) => {
    const body = new FormData()
    body.append('file', await openAsBlob(pathOfFixture(file), { type }), file)
    const headers = { authorization: `Bearer ${server.key()}` }
    return (await fetch(`${server.url}/api/upload`, { method: 'POST', headers, body })).text()
  },
}

/** What is not on the machine cannot be tried; `.ci/run` installs both. */
const missing = new Set<string>()
await run('curl', ['--version']).catch(() => missing.add('curl'))
await run('python3', ['-c', 'import requests']).catch(() => missing.add('Python requests'))
if (process.env.CI && missing.size > 0) throw new Error(`CI must have ${[...missing].join(' and ')}`)

describe.each(Object.entries(clients))('%s', (client, upload) => {
  test.skipIf(missing.has(client)).each(photos)(
    'uploads a $format photograph and gets it back, byte for byte',
    async ({ file, mediaType, extension }) => {
      const answer = JSON.parse(await upload(file, mediaType))
      expect(answer).toEqual({ success: true, message: '', data: expect.stringMatching(`\\.${extension}$`) })
      const get = await fetch(answer.data)
      const head = await fetch(answer.data, { method: 'HEAD' })
      expect(sha256(new Uint8Array(await get.arrayBuffer()))).toBe(sha256(fixture(file)))
      expect(get.headers.get('content-type')).toBe(mediaType)
      const facts = ({ headers }: Response) =>
        Object.fromEntries(
          [...headers].filter(
            ([name]) => !['date', 'x-request-id', 'cache-control', 'connection', 'keep-alive'].includes(name),
          ),
        )
      expect(facts(head)).toEqual(facts(get))
    },
  )
})

describe('the key', () => {
  test('is not in the log after requests with a right and a wrong one', async () => {
    const wrong = 'sk-layover-this-one-is-wrong-but-secret'
    const response = await fetch(`${server.url}/api/upload?key=${wrong}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${wrong}` },
    })
    expect(response.status).toBe(401)
    expect(server.output()).not.toContain(wrong)
  })
})
