import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { beforeAll, describe, expect, test } from 'vitest'
import { FETCHERS } from '../../src/vision/fetchers.ts'
import { play } from '../support/fetchers.ts'
import { PAGE, type Played, pageOf, playAll } from '../support/fetchers-page.ts'
import { photos } from '../support/images.ts'
import { installedProxies } from '../support/shipped-proxy.ts'

describe.skipIf(!installedProxies().includes('nginx'))('known fetchers', () => {
  let played: Played[]
  beforeAll(async () => {
    played = await playAll()
  }, 120_000)
  const of = (id: string) => {
    const one = played.find(({ fetcher }) => fetcher.id === id)
    if (one === undefined) throw new Error(`${id} was not played`)
    return one
  }

  const got = photos.map(({ format }) => [format, undefined])
  test.each(FETCHERS)('get every format, directly and through nginx: $name', ({ id }) => {
    const { direct, nginx } = of(id)
    expect({ direct, nginx }).toEqual({ direct: got, nginx: got })
  })

  test.each(FETCHERS)('are named by their receipts: $name', ({ id, asks, pattern }) => {
    const { noted } = of(id)
    const ofImages = asks.filter((ask) => ask !== 'robots').length
    expect(noted).toHaveLength(2 * ofImages * photos.length)
    for (const receipt of noted)
      expect(receipt).toMatchObject({
        fetcher: pattern === undefined ? 'other' : id,
        network: '127.0.0.0/24',
        complete: true,
      })
  })

  test('are hard to please: what they would drop elsewhere, they drop here', () => {
    const dropped = (id: string) =>
      of(id).faults.flatMap(([host, fault]) => (fault === undefined ? [] : [host]))
    expect(dropped('anthropic')).toContain('robots.txt that shuts out all')
    expect(dropped('google')).toContain('robots.txt that shuts out all')
    expect(dropped('openai')).not.toContain('robots.txt that shuts out all')
    for (const host of [
      'a redirect',
      'HEAD refused',
      '`application/octet-stream`',
      'no Content-Length',
      'compressed',
    ])
      expect(dropped('runway')).toContain(host)
    expect(dropped('go')).toContain('HEAD refused')
    expect(dropped('vllm')).not.toContain('a redirect')
    expect(dropped('head-first')).toContain('no ranges')
    expect(dropped('head-first')).not.toContain('HEAD refused')
    expect(dropped('litellm')).toEqual([])
    expect(dropped('silent')).toContain('a User-Agent wanted')
  })

  test('and docs/fetchers.md says so: `npm run fetchers` makes it anew', () => {
    expect(readFileSync(PAGE, 'utf8')).toBe(pageOf(played))
  })
})

test('a fetcher waits for as long as is known, and no longer', async () => {
  const server = createServer(() => {}).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const [openai] = FETCHERS
  if (openai === undefined) throw new Error('there are no fetchers')
  const wanted = { port, path: '/x.png', bytes: Buffer.of(1), mediaType: 'image/png' }
  expect(await play({ ...openai, patience: 0.2 }, wanted)).toBe('GET: took longer than 0.2 seconds')
  server.closeAllConnections()
  server.close()
})
