import { execFile } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fixture, pathOfFixture, photos, sha256 } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

const run = promisify(execFile)

let server: ServerProcess
beforeAll(async () => {
  server = await startServer({ env: { LOG_LEVEL: 'trace' } })
})
afterAll(async () => {
  const output = server.output()
  await server[Symbol.asyncDispose]()
  // Whoever can read the log cannot upload by it.
  expect(output).not.toMatch(/ticket=|X-Amz-Signature/)
})

interface Link {
  id: string
  url: string
  upload_url: string
  method: string
  headers: Record<string, string>
}

/** Sends a file to a link as each client would, and answers the status. */
type Send = (link: Link, file: string) => Promise<number>

const PYTHON = `
import json, sys, requests
link, path = json.loads(sys.argv[1]), sys.argv[2]
with open(path, 'rb') as file:
    print(requests.request(link['method'], link['upload_url'], headers=link['headers'], data=file).status_code)
`

const clients: Record<string, Send> = {
  curl: async ({ upload_url, method, headers }, file) => {
    const all = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`])
    const status = ['--silent', '--write-out', '%{http_code}', '--output', '/dev/null']
    const body = ['--upload-file', pathOfFixture(file)]
    return Number((await run('curl', [...status, '--request', method, ...all, ...body, upload_url])).stdout)
  },
  'Python requests': async (link, file) =>
    Number((await run('python3', ['-c', PYTHON, JSON.stringify(link), pathOfFixture(file)])).stdout),
  'Node fetch': async ({ upload_url, method, headers }, file) =>
    (await fetch(upload_url, { method, headers, body: await openAsBlob(pathOfFixture(file)) })).status,
}

test.each(Object.keys(clients).flatMap((client) => photos.map((photo) => ({ client, ...photo }))))(
  '$client sends a $format photograph to a link, and the model fetches it',
  async ({ client, file, mediaType }) => {
    const bytes = fixture(file)
    const asked = await fetch(`${server.url}/v1/files/uploads/presign`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.key()}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        filename: file,
        content_type: mediaType,
        size: bytes.length,
        purpose: 'vision',
      }),
    })
    expect(asked.status).toBe(200)
    const link = (await asked.json()) as Link
    expect(await clients[client]?.(link, file)).toBe(200)

    const head = await fetch(link.url, { method: 'HEAD' })
    expect(head.status).toBe(200)
    expect(head.headers.get('content-type')).toBe(mediaType)
    expect(head.headers.get('content-length')).toBe(String(bytes.length))
    const got = await fetch(link.url)
    expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(bytes))
  },
)
