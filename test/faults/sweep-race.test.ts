import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { openSpool } from '../../src/spool.ts'
import { openLocalStore } from '../../src/store/local.ts'
import type { Store } from '../../src/store/store.ts'
import { sweep } from '../../src/sweeper.ts'
import { sha256, tinyPng } from '../support/images.ts'
import { startServer } from '../support/server.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY } from '../support/ways.ts'

const SHORT = 50
const LONG = 300
const DURATION = 5000

/**
 * All images stand in the folder of their expiry. Those that live short are swept as if they had expired, by another process than the
 * server; those that live long are deleted by their owner: so the folder is empty, and removed, again and again while others come in.
 */
test('a sweep that removes an empty folder loses no upload that is on its way into it', {
  timeout: 60_000,
}, async () => {
  await using folder = await tempFolder()
  const env = { ...OWN_KEY, MIN_FREE_SPACE: '0', SWEEP_INTERVAL: '0' }
  await using server = await startServer({ dataDir: folder.path, env })
  const spool = await openSpool({ dir: join(folder.path, 'tmp'), minFree: 0, maxAge: 3600 })
  const store = await openLocalStore({ root: join(folder.path, 'images'), spool })
  const answered = new Set<string>()
  // Nothing expires before it is answered; here it would.
  const sweepable: Store = {
    ...store,
    async *list(options) {
      for await (const object of store.list(options)) if (answered.has(object.key)) yield object
    },
  }
  const end = Date.now() + DURATION
  const outcomes: string[] = []
  const uploadUrl = (seconds: number) => `${server.url}/v1/files/uploads/base64?expires_in=${seconds}`

  async function upload(seconds: number) {
    const body = JSON.stringify({ data: tinyPng.toString('base64') })
    const headers = { 'content-type': 'application/json' }
    const answer = await call(uploadUrl(seconds), { method: 'POST', headers, body })
    outcomes.push(`upload ${answer.status}`)
    return JSON.parse(String(answer.body)) as { id: string; url: string }
  }
  async function uploadShort() {
    while (Date.now() < end) answered.add(basename((await upload(SHORT)).url))
  }
  async function uploadAndDelete() {
    while (Date.now() < end) {
      const { id, url } = await upload(LONG)
      const { status, body } = await call(server.url + new URL(url).pathname)
      outcomes.push(`download ${status} ${sha256(body)}`)
      const { status: deleted } = await call(`${server.url}/v1/files/uploads/${id}`, { method: 'DELETE' })
      outcomes.push(`delete ${deleted}`)
    }
  }
  let swept = 0
  async function sweepOften() {
    while (Date.now() < end) {
      const now = Date.now() + (SHORT + 20) * 1000
      const { deleted, failed } = await sweep({
        store: sweepable,
        spool,
        now,
        onError: (error) => outcomes.push(String(error)),
      })
      swept += deleted
      if (failed > 0) outcomes.push('a delete failed')
    }
  }
  await Promise.all([uploadShort(), uploadShort(), uploadAndDelete(), uploadAndDelete(), sweepOften()])

  expect(swept).toBeGreaterThan(20)
  expect([...new Set(outcomes)].sort()).toEqual([
    'delete 200',
    `download 200 ${sha256(tinyPng)}`,
    'upload 200',
  ])
})
