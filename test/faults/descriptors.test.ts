import { readdir, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { idOf } from '../../src/keys/known.ts'
import { formatKeyFile, keyFileIn } from '../../src/keys/record.ts'
import { apiKey } from '../support/app.ts'
import { pngOfSize, sha256, tinyPng } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, type Outcome, WAYS } from '../support/ways.ts'

const LIMIT = 128
const AT_ONCE = 300
const images = [tinyPng, pngOfSize(50_000), pngOfSize(300_000), pngOfSize(1_000_000)]

let folder: TempFolder
let server: ServerProcess
beforeEach(async () => {
  folder = await tempFolder()
  // In a file, which takes a descriptor to look at, as sweeps do.
  const record = {
    name: 'tester',
    sha256: idOf(apiKey),
    last4: apiKey.slice(-4),
    created: new Date().toISOString(),
  }
  await writeFile(keyFileIn(folder.path), formatKeyFile([record]))
  const env = { MIN_FREE_SPACE: '0', SWEEP_INTERVAL: '1s', QUOTA: '100GB' }
  server = await startServer({ dataDir: folder.path, env, under: ['prlimit', `--nofile=${LIMIT}`] })
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const descriptors = async () => (await readdir(`/proc/${server.pid}/fd`)).length

/** How it went: a status with a code, where the answer has one; or a connection that was refused or closed. */
const outcome = (answer: Outcome | undefined) =>
  answer === undefined ? 'closed' : [answer.status, answer.code ?? []].flat().join(' ')

test.skipIf(process.platform !== 'linux')(
  `${AT_ONCE} uploads and as many downloads at once, with ${LIMIT} descriptors, are served or refused, never served wrong`,
  {
    timeout: 90_000,
  },
  async () => {
    const image = pngOfSize(300_000)
    const { path: kept = '' } = await WAYS.form(server.url, image)
    await call(server.url + kept)
    const before = await descriptors()
    const ways = Object.values(WAYS)
    const stored = new Map<string, string>([[kept, sha256(image)]])

    const uploads = Array.from({ length: AT_ONCE }, async (_, i) => {
      const image = Buffer.concat([images[i % images.length] ?? tinyPng, Buffer.from(String(i))])
      const answer = await ways[i % ways.length]?.(server.url, image).catch(() => undefined)
      if (answer?.path) stored.set(answer.path, sha256(image))
      return outcome(answer)
    })
    const downloads = Array.from({ length: AT_ONCE }, async () => {
      const answer = await call(server.url + kept).catch(() => undefined)
      if (answer?.status === 200) expect(sha256(answer.body)).toBe(stored.get(kept))
      const isImage = answer?.status === 200
      const code = answer && !isImage && JSON.parse(String(answer.body)).error.code
      return outcome(answer && { status: answer.status, ...(code && { code }) })
    })
    const answers = await Promise.all([...uploads, ...downloads])
    const counts = Object.groupBy(answers, (answer) => answer)
    expect(
      Object.keys(counts).filter((answer) => !/^(200|closed|503( store_unavailable)?)$/.test(answer)),
    ).toEqual([])

    await eventually(async () => (await descriptors()) <= before + 2)
    for (const [path, hash] of stored) expect(sha256((await call(server.url + path)).body)).toBe(hash)
    expect(await server.files()).toHaveLength(stored.size)
    for (const way of ways) expect(await way(server.url, tinyPng)).toMatchObject({ status: 200 })
    expect(server.output()).not.toMatch(/"level":60/)
  },
)
