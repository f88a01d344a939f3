import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cautiousClock } from '../../src/cautious-clock.ts'
import { isLeftover } from '../../src/presign/times.ts'
import { sweep } from '../../src/sweeper.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { sha256, tinyPng } from '../support/images.ts'
import { tempSpool } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** The clock, and the time that has really passed. */
let now: number
let passed: number
let sweepTime: () => number
let app: TestApp
beforeEach(async () => {
  now = Date.UTC(2026, 5, 15)
  passed = 0
  sweepTime = cautiousClock({ wall: () => now, steady: () => passed })
  app = await startApp({ env: { ...OWN_KEY, LIFETIME: '72h' }, now: () => now })
})
afterEach(() => app[Symbol.asyncDispose]())

/** Time passes. */
function pass(ms: number) {
  now += ms
  passed += ms
}

/** The clock is set. */
function jump(ms: number) {
  now += ms
}

async function upload(): Promise<string> {
  return (await WAYS.form(app.url, tinyPng)).path ?? expect.unreachable('not stored')
}

async function outcome(path: string): Promise<number> {
  const { status, body } = await call(app.url + path)
  if (status === 200) expect(sha256(body)).toBe(sha256(tinyPng))
  return status
}

/** As the process sweeps. */
async function sweepNow(): Promise<number> {
  await using folder = await tempSpool()
  const isOver = (key: string, time: number) => isLeftover(key, app.config, time)
  const incoming = app.area && { store: app.area.store, isOver }
  const onError = (error: unknown) => expect.unreachable(String(error))
  const { store } = app
  return (await sweep({ store, incoming, spool: folder.spool, now: sweepTime(), onError })).deleted
}

describe('a clock that is set back by a day', () => {
  test('ends no image early, and brings none back that was swept', async () => {
    const old = await upload()
    pass(71 * HOUR)
    const young = await upload()
    pass(2 * HOUR)
    expect(await outcome(old)).toBe(410)
    expect(await sweepNow()).toBe(1)

    jump(-DAY)
    expect(await sweepNow()).toBe(0)
    // Its bytes are gone, whatever the clock says.
    expect(await outcome(old)).toBe(404)
    expect(await outcome(young)).toBe(200)
    const meanwhile = await upload()
    expect(await outcome(meanwhile)).toBe(200)

    jump(DAY)
    expect(await sweepNow()).toBe(0)
    expect([await outcome(old), await outcome(young), await outcome(meanwhile)]).toEqual([410, 200, 200])
    pass(69 * HOUR)
    // It was given 72 hours of a clock that was a day late.
    expect([await outcome(young), await outcome(meanwhile)]).toEqual([200, 410])
    pass(HOUR)
    expect(await outcome(young)).toBe(410)
  })

  test('leaves links to upload to as they are: they take their image, once', async () => {
    const order = JSON.stringify({ content_type: 'image/png', size: tinyPng.length })
    const headers = { 'content-type': 'application/json' }
    const answer = await call(`${app.url}/v1/files/uploads/presign`, { method: 'POST', headers, body: order })
    const link = JSON.parse(String(answer.body))
    const send = () =>
      call(link.upload_url, { method: 'PUT', headers: { 'content-type': 'image/png' }, body: tinyPng })
    jump(-DAY)
    await sweepNow()
    expect((await send()).status).toBe(200)
    expect((await send()).status).toBe(409)
    jump(DAY)
    expect(await outcome(new URL(link.url).pathname)).toBe(200)
  })
})

describe('a clock that jumps ahead by four days', () => {
  test('and is set right within the hour has deleted nothing, though it refused what it took for expired', async () => {
    const path = await upload()
    jump(4 * DAY)
    expect(await outcome(path)).toBe(410)
    expect(await sweepNow()).toBe(0)
    pass(HOUR / 2)
    expect(await sweepNow()).toBe(0)
    jump(-4 * DAY)
    expect(await sweepNow()).toBe(0)
    expect(await outcome(path)).toBe(200)
    pass(72 * HOUR)
    expect(await outcome(path)).toBe(410)
    expect(await sweepNow()).toBe(1)
    expect(await app.files()).toEqual([])
  })

  test('and stays there is believed: an hour later what has expired is deleted', async () => {
    await upload()
    jump(4 * DAY)
    expect(await sweepNow()).toBe(0)
    pass(HOUR)
    expect(await sweepNow()).toBe(1)
  })
})

test('a sweep after a jump ahead leaves the temp file of an upload that is under way', async () => {
  await using folder = await tempSpool()
  const temp = await folder.spool.create()
  await temp.write(tinyPng)
  expect(await folder.spool.sweep(Date.now() + 10 * DAY)).toBe(0)
  expect(await folder.names()).toHaveLength(1)
  await temp.remove()
})
