import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { exchange, requestHead, uploadHead } from '../support/socket.ts'

/** In each of them, so that it is found wherever it comes out again. */
const CANARY = 'canary7f3a'

const names = [
  `../../../../tmp/${CANARY}`,
  `..\\..\\${CANARY}`,
  `/tmp/${CANARY}`,
  `C:\\${CANARY}`,
  `%2e%2e%2f${CANARY}`,
  `....//${CANARY}`,
  `${CANARY}.php;.png`,
  `${CANARY}.png%00.html`,
  `${CANARY}\0.html`,
  `<script>alert('${CANARY}')</script>.png`,
  `${CANARY}'; DROP TABLE images; --`,
  `$(touch /tmp/${CANARY})`,
  `|touch ${CANARY}`,
  `-rf ${CANARY}`,
  `\u202egnp.${CANARY}`,
  `e\u0301${CANARY}.png`,
  `${CANARY}\n{"level":60,"msg":"forged"}`,
  `__proto__ ${CANARY}`,
  `CON ${CANARY}`,
  `.htaccess ${CANARY}`,
  `${CANARY}${'x'.repeat(3000)}.png`,
]

let app: TestApp
let log = ''
beforeAll(async () => {
  app = await startApp({
    env: { LOG_LEVEL: 'trace' },
    onLog: (line) => {
      log += line
    },
  })
})
afterAll(() => app[Symbol.asyncDispose]())

/** The ways in by which a file can be given a name. */
const ways: Record<string, (name: string) => ReturnType<typeof exchange>> = {
  'a form': (name) => {
    const form = uploadOf(tinyPng, name)
    const head = uploadHead(form, authorization).replace('/api/upload', '/v1/files/uploads')
    return exchange(app.port, head, form.body)
  },
  base64: (filename) => postJson('/base64', { filename, data: tinyPng.toString('base64') }),
  'a link': (filename) => postJson('/presign', { filename, content_type: 'image/png', size: tinyPng.length }),
}

function postJson(path: string, members: object) {
  const body = JSON.stringify(members)
  const headers = {
    Authorization: authorization,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
  }
  return exchange(app.port, requestHead(`POST /v1/files/uploads${path}`, headers), body)
}

test.each(Object.keys(ways).flatMap((way) => names.map((name) => ({ way, name }))))(
  'in $way, the name $name makes no path, no address and no line of the log',
  async ({ way, name }) => {
    const { status, headers, body } = (await ways[way]?.(name)) ?? expect.unreachable()
    const said = JSON.stringify(headers) + body
    // A name that breaks the form may be refused.
    expect([200, 400]).toContain(status)
    if (status === 200) {
      const { url } = JSON.parse(String(body))
      expect(new URL(url).pathname).toMatch(/^\/uploads\/\d{4}\/\d{2}\/[0-9a-z]{53}\.png$/)
    }
    expect(said).not.toContain(CANARY)
    expect(log).not.toContain(CANARY)
    for (const file of await app.files()) expect(file).toMatch(/^[0-9a-z]{53}\.png$/)
    const near = [tmpdir(), join(tmpdir(), '..'), process.cwd()]
    const found = await Promise.all(near.map((folder) => readdir(folder)))
    expect(found.flat().filter((file) => file.includes(CANARY))).toEqual([])
  },
)
