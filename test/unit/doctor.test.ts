import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { isAllowed } from '../../src/doctor/robots.ts'
import { clockVerdict } from '../../src/doctor/stores.ts'
import { Finding, good, verdictOf } from '../../src/doctor/verdict.ts'

describe('a clock', () => {
  /** What is said of an S3 server whose clock is off by so many seconds. */
  async function verdictAt(seconds: number) {
    const server = createServer((_request, response) => {
      response
        .setHeader('date', new Date(Date.now() + seconds * 1000).toUTCString())
        .writeHead(403)
        .end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const S3_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const key = { S3_ACCESS_KEY_ID: 'id', S3_SECRET_ACCESS_KEY: 'secret' }
    const verdict = await clockVerdict(loadConfig({ STORE: 's3', S3_BUCKET: 'bucket', S3_ENDPOINT, ...key }))
    server.close()
    return verdict
  }

  test('like the store’s is good', async () => {
    expect((await verdictAt(0)).mark).toBe('✓')
    expect((await verdictAt(3)).mark).toBe('✓')
  })

  test.each([
    [-3600, 'ahead of'],
    [3600, 'behind'],
  ])('that is %i seconds off is not', async (seconds, word) => {
    const { mark, text } = await verdictAt(seconds)
    expect(mark).toBe('✗')
    expect(text).toMatch(new RegExp(`(3599|3600|3601) seconds ${word}`))
  })

  test('of a disk is this one', async () => {
    expect((await clockVerdict(loadConfig({}))).mark).toBe('–')
  })
})

describe('robots.txt', () => {
  test.each([
    ['', 'Claude-User', true],
    ['User-agent: *\nAllow: /\n', 'Claude-User', true],
    ['User-agent: *\nDisallow: /\n', 'Claude-User', false],
    ['User-agent: *\nDisallow:\n', 'Claude-User', true],
    ['User-agent: *\nDisallow: /\nAllow: /uploads/\n', 'Claude-User', true],
    ['User-agent: *\nAllow: /\nDisallow: /uploads\n', 'Claude-User', false],
    ['User-agent: *\nDisallow: /admin\n', 'Claude-User', true],
    ['User-agent: *\nDisallow: /*.png$\n', 'Claude-User', false],
    ['User-agent: *\nDisallow: /*.jpg$\n', 'Claude-User', true],
    ['# none\nuser-agent: claude-user # all\nDISALLOW: / # of it\n', 'Claude-User', false],
    [
      'User-agent: GPTBot\nUser-agent: Claude-User\nDisallow: /\n\nUser-agent: *\nAllow: /',
      'Claude-User',
      false,
    ],
    ['User-agent: GPTBot\nDisallow: /\n\nUser-agent: *\nAllow: /', 'Claude-User', true],
    ['User-agent: *\nDisallow: /\n\nUser-agent: Claude-User\nAllow: /', 'Claude-User', true],
  ])('%j lets %s in: %s', (text, agent, isIn) => {
    expect(isAllowed(text, { agent, path: '/uploads/2026/11/x.png' })).toBe(isIn)
  })
})

describe('a check', () => {
  test('that hangs ends after its time', async () => {
    const verdict = await verdictOf(50, () => new Promise(() => {}))
    expect(verdict).toEqual({ mark: '✗', text: 'is not done after 0.05 seconds' })
  })

  test('that fails says so', async () => {
    const failing = (error: Error) => verdictOf(1000, () => Promise.reject(error))
    expect((await failing(new Finding('is wrong'))).text).toBe('is wrong')
    const refused = Object.assign(new Error('open /secret/place'), { code: 'EACCES' })
    expect(await failing(refused)).toEqual({ mark: '✗', text: 'EACCES' })
    expect(await verdictOf(1000, async () => good('fine'))).toEqual({ mark: '✓', text: 'fine' })
  })
})
