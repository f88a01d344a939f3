import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { openSocket, parseResponse, uploadHead } from '../support/socket.ts'

/** Uploads that are under way at once. */
const AT_ONCE = 16

let app: TestApp
beforeAll(async () => {
  // What is stored is not looked at in a store of any kind, so that thousands of uploads cost little.
  app = await startApp({ env: { STORE: 'memory' } })
})
afterAll(() => app[Symbol.asyncDispose]())

const FILE = 'Content-Disposition: form-data; name="file"; filename="a"\r\n'
const FIELD = 'Content-Disposition: form-data; name="expires_in"\r\n'
/** An image with all in it that looks like the end of a part, and is not. */
const image = `${tinyPng.toString('latin1')}\r\n--\r\n--B\r\r\n-\r\n--b\r\n\r`

interface Form {
  readonly title: string
  readonly body: string
  readonly status: number
  /** Seconds. */
  readonly lifetime?: number
}

const forms: readonly Form[] = [
  { title: 'a file alone', body: `--bb\r\n${FILE}\r\n${image}\r\n--bb--`, status: 200, lifetime: 259_200 },
  {
    title: 'all that a form may have',
    body: `preamble\r\n--bb\r\n${FIELD}\r\n60\r\n--bb\r\n${FILE}Content-Type: x/y\r\nX-A: b\r\n\r\n${image}\r\n--bb\r\n${FIELD}\r\n90\r\n--bb--\r\nepilogue\r\n--bb`,
    status: 200,
    lifetime: 60,
  },
  {
    title: 'two files',
    body: `--bb\r\n${FILE}\r\n${image}\r\n--bb\r\n${FILE}\r\n${image}\r\n--bb--\r\n`,
    status: 400,
  },
  { title: 'a last boundary that is none', body: `--bb\r\n${FILE}\r\n${image}\r\n--bb-`, status: 400 },
  { title: 'a file without an end', body: `--bb\r\n${FILE}\r\n${image}\r\n--b`, status: 400 },
  { title: 'a part whose headers do not end', body: `--bb\r\n${FILE}X-A: b\r\n--bb--\r\n`, status: 400 },
  { title: 'a header that is none', body: `--bb\r\n nonsense\r\n\r\n${image}\r\n--bb--\r\n`, status: 400 },
  {
    title: 'spaces after a boundary, which no client sends',
    body: `--bb\r\n${FIELD}\r\n60\r\n--bb  \r\n${FILE}\r\n${image}\r\n--bb--\r\n`,
    status: 400,
  },
  { title: 'a field alone', body: `--bb\r\n${FIELD}\r\n60\r\n--bb--\r\n`, status: 400 },
  { title: 'an empty file', body: `--bb\r\n${FILE}\r\n\r\n--bb--\r\n`, status: 400 },
]

/** Sends a form in two pieces, the second when the first has been read; then what came of it. */
async function sendSplit(body: Buffer, at: number) {
  const form = { body, contentType: 'multipart/form-data; boundary=bb' }
  const socket = await openSocket(app.port)
  socket.setNoDelay(true)
  const head = Buffer.from(uploadHead(form, authorization))
  await new Promise<void>((resolve) =>
    socket.write(Buffer.concat([head, body.subarray(0, at)]), () => resolve()),
  )
  await new Promise((resolve) => setTimeout(resolve, 5))
  socket.write(body.subarray(at))
  const response = parseResponse(await buffer(socket))
  const { data } = JSON.parse(String(response.body))
  const name = data?.split('/').at(-1)
  const stored = name ? (await buffer((await app.store.open(name)).body)).toString('latin1') : null
  if (name) await app.store.delete(name)
  const expires = Date.parse(response.headers['x-layover-expires-at'] ?? '')
  return { status: response.status, stored, left: Math.round((expires - Date.now()) / 1000) }
}

test.each(forms)(
  'wherever it is cut, $title is answered alike ($status)',
  async ({ body, status, lifetime = Number.NaN }) => {
    const bytes = Buffer.from(body, 'latin1')
    const points = Array.from({ length: bytes.length + 1 }, (_, index) => index)
    const next = points.values()
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const at of next) {
          const { left, ...outcome } = await sendSplit(bytes, at)
          expect({ at, ...outcome }).toEqual({ at, status, stored: status === 200 ? image : null })
          if (status === 200) expect(Math.abs(left - lifetime)).toBeLessThan(5)
        }
      }),
    )
    for await (const { key } of app.store.list()) expect.unreachable(key)
  },
)
