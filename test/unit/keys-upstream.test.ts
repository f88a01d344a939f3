import { hash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { openKeyring } from '../../src/keys.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'

/** A keyring on a gateway, with a clock that stands still until it is set. */
async function open(gateway: Gateway, AUTH_UPSTREAM_IDENTITY = '') {
  const clock = { now: Date.parse('2026-01-01T00:00:00Z') }
  const notes: string[] = []
  const config = loadConfig({ AUTH_UPSTREAM_URL: gateway.url, AUTH_UPSTREAM_IDENTITY })
  const ring = await openKeyring(config, { now: () => clock.now, onNote: (note) => notes.push(note) })
  return { ring, clock, notes }
}

const unavailable = expect.objectContaining({ code: 'auth_unavailable', status: 503 })

describe('the keys of a gateway', () => {
  test('are those it accepts: known by their digest, with nothing of the key in the name', async () => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway)
    const id = hash('sha256', 'good-key')
    expect(await ring.find('good-key')).toEqual({ id, name: `upstream-${id.slice(0, 8)}` })
    expect(await ring.find('bad-key')).toBeUndefined()
    gateway.answer = (_key, _request, response) => response.writeHead(403).end()
    expect(await ring.find('other-key')).toBeUndefined()
    expect(ring.isShared()).toBe(true)
  })

  test('are asked about once a minute, and wrong ones every ten seconds', async () => {
    await using gateway = await startGateway()
    const { ring, clock } = await open(gateway)
    for (let round = 0; round < 3; round += 1) await Promise.all([ring.find('good'), ring.find('bad')])
    expect(gateway.asked.toSorted()).toEqual(['bad', 'good'])
    clock.now += 10_000
    await Promise.all([ring.find('good'), ring.find('bad')])
    expect(gateway.asked.toSorted()).toEqual(['bad', 'bad', 'good'])

    // Withdrawn at the gateway, it is refused here a minute after it was last asked about.
    gateway.answer = (_key, _request, response) => response.writeHead(401).end()
    clock.now += 49_999
    expect(await ring.find('good')).toBeDefined()
    clock.now += 1
    expect(await ring.find('good')).toBeUndefined()
  })

  test('are asked about once for all who present one at the same time', async () => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway)
    const found = await Promise.all(Array.from({ length: 50 }, () => ring.find('good')))
    expect(found.every((key) => key !== undefined)).toBe(true)
    expect(gateway.asked).toEqual(['good'])
  })

  test('are asked about by at most 32 requests at once, and a flood of guesses is cut off', async () => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway)
    let [open_, most] = [0, 0]
    gateway.answer = async (_key, _request, response) => {
      open_ += 1
      most = Math.max(most, open_)
      await sleep(50)
      open_ -= 1
      response.writeHead(401).end()
    }
    const guesses = Array.from({ length: 400 }, (_, index) => ring.find(`guess-${index}`))
    const results = await Promise.allSettled(guesses)
    expect(most).toBe(32)
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
    // Half of the places are for keys that it has accepted before.
    expect(refused).toEqual(Array(400 - (32 + 256) / 2).fill(unavailable))
    expect(await ring.find('another')).toBeUndefined()
  })

  test('that it has accepted before are asked about first, however many guesses wait', async () => {
    await using gateway = await startGateway()
    const { ring, clock } = await open(gateway)
    await ring.find('good')
    clock.now += 61_000
    const waiting: (() => void)[] = []
    gateway.answer = (key, _request, response) => {
      if (key === 'good') response.writeHead(200).end('{}')
      else waiting.push(() => response.writeHead(401).end())
    }
    const guesses = Array.from({ length: 400 }, (_, index) => ring.find(`guess-${index}`))
    const ended = Promise.allSettled(guesses)
    await expect.poll(() => waiting.length).toBe(32)
    const known = ring.find('good')
    waiting.shift()?.()
    expect(await known).toBeDefined()
    gateway.answer = (_key, _request, response) => response.writeHead(401).end()
    for (const answer of waiting) answer()
    await ended
  })

  test('that nobody could have are refused without asking', async () => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway)
    expect(await ring.find(`good${'x'.repeat(508)}`)).toBeDefined()
    expect(await ring.find(`good${'x'.repeat(509)}`)).toBeUndefined()
    expect(await ring.find('good\u00ff')).toBeUndefined()
    expect(gateway.asked).toHaveLength(1)
  })
})

describe('a key that the gateway has accepted', () => {
  test('is always looked up, until the gateway refuses it', async () => {
    await using gateway = await startGateway()
    const { ring, clock } = await open(gateway)
    expect(ring.alwaysLooksUp('good')).toBe(false)
    await Promise.all([ring.find('good'), ring.find('bad')])
    expect([ring.alwaysLooksUp('good'), ring.alwaysLooksUp('bad')]).toEqual([true, false])
    clock.now += 3600_000
    expect(ring.alwaysLooksUp('good')).toBe(true)
    gateway.answer = (_key, _request, response) => response.writeHead(500).end()
    await expect(ring.find('good')).rejects.toEqual(unavailable)
    expect(ring.alwaysLooksUp('good')).toBe(true)
    gateway.answer = (_key, _request, response) => response.writeHead(401).end()
    expect(await ring.find('good')).toBeUndefined()
    expect(ring.alwaysLooksUp('good')).toBe(false)
  })
})

describe('with AUTH_UPSTREAM_IDENTITY', () => {
  const users: Record<string, string> = { 'good-1': 'ann', 'sk-good-1': 'ann', 'good-2': 'bob' }

  /** Each user in a header, and in a JSON document at an address of its own. */
  const tellUser: Gateway['answer'] = (key, { url }, response) => {
    const user = users[key]
    if (user === undefined) return response.writeHead(401).end()
    if (url === '/v1/key/info') return response.end(JSON.stringify({ info: { user_id: user } }))
    response.writeHead(200, { 'X-User-Id': user }).end('{}')
  }

  test.each(['header:x-user-id', 'json:info.user_id@/key/info'])(
    'another spelling of a key, or a second key, is the same user (%s)',
    async (identity) => {
      await using gateway = await startGateway()
      gateway.answer = tellUser
      const { ring } = await open(gateway, identity)
      const [ann, again, bob] = await Promise.all(Object.keys(users).map((key) => ring.find(key)))
      expect(ann).toEqual({
        id: expect.stringMatching(/^[0-9a-f]{64}$/),
        name: `upstream-${ann?.id.slice(0, 8)}`,
      })
      expect(again).toEqual(ann)
      expect(bob?.id).not.toBe(ann?.id)
      // Nor is it the user of a key that is spelled like the identity.
      for (const text of ['ann', 'good-1', 'sk-good-1']) expect(ann?.id).not.toBe(hash('sha256', text))
      expect(await ring.find('bad')).toBeUndefined()
      expect(await ring.find('good-1')).toEqual(ann)
      expect(gateway.asked).toHaveLength(4)
    },
  )

  test('the same identity at another gateway is another user', async () => {
    await using one = await startGateway()
    await using other = await startGateway()
    one.answer = tellUser
    other.answer = tellUser
    const rings = await Promise.all([one, other].map((gateway) => open(gateway, 'header:x-user-id')))
    const [first, second] = await Promise.all(rings.map(({ ring }) => ring.find('good-1')))
    expect(first?.id).not.toBe(second?.id)
  })

  test.each([
    ['a whole number', '{"id":42}', '{"id":"42"}'],
    ['a text', '{"id":"ann"}', '{"id":"ann","more":1}'],
    ['in an answer of 1 MB', `{"id":"ann","more":"${'x'.repeat(1024 ** 2 - 23)}"}`, '{"id":"ann"}'],
  ])('an identity can be %s', async (_title, one, other) => {
    await using gateway = await startGateway()
    gateway.answer = (key, _request, response) =>
      key.startsWith('good') ? response.end(key === 'good-1' ? one : other) : response.writeHead(401).end()
    const { ring } = await open(gateway, 'json:id')
    expect((await ring.find('good-1'))?.id).toBe((await ring.find('good-2'))?.id)
  })

  test.each([
    ['without it', '{"other":"ann"}'],
    ['where it is null', '{"id":null}'],
    ['where it is empty', '{"id":" "}'],
    ['where it is 0', '{"id":0}'],
    ['where it is a fraction', '{"id":1.5}'],
    // As JavaScript reads it, it is the same as 9007199254740992.
    ['where it is a number that would be rounded', '{"id":9007199254740993}'],
    ['where it is true', '{"id":true}'],
    ['where it is an object', '{"id":{"id":"ann"}}'],
    ['where only every object has it', '{"__proto__":{"id":"ann"}}'],
    ['that is a list', '[]'],
    ['that is null', 'null'],
    ['that is no JSON', 'secret-answer'],
    ['that is empty', ''],
    ['that is longer than 1 MB', `{"id":"ann","more":"${'x'.repeat(1024 ** 2)}"}`],
  ])('an answer %s lets nobody in, and the log says why', async (_title, body) => {
    await using gateway = await startGateway()
    gateway.answer = (key, _request, response) =>
      key.startsWith('good') ? response.end(body) : response.writeHead(401).end()
    const { ring } = await open(gateway, 'json:id')
    const error = await ring.find('good-key').catch((error: unknown) => error)
    expect(error).toEqual(unavailable)
    const cause = String((error as Error).cause)
    expect(cause).toMatch(/AUTH_UPSTREAM_IDENTITY: the answer of http:.*\/models /)
    expect(cause).not.toMatch(/good-key|secret-answer|ann/)
  })

  test('an answer without the header lets nobody in', async () => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway, 'header:x-user-id')
    const error = await ring.find('good-key').catch((error: unknown) => error)
    expect(error).toEqual(unavailable)
    expect(String((error as Error).cause)).toMatch(/AUTH_UPSTREAM_IDENTITY: .* header x-user-id/)
  })

  test('an answer that does not end within five seconds lets nobody in', async () => {
    await using gateway = await startGateway()
    gateway.answer = (key, _request, response) =>
      key.startsWith('good') ? response.write('{"id":"ann",') : response.writeHead(401).end()
    const { ring } = await open(gateway, 'json:id')
    const error = await ring.find('good').catch((error: unknown) => error)
    expect(error).toEqual(unavailable)
    expect(String((error as Error).cause)).toContain('does not answer')
  })
})

describe('nobody is let in, and no key is called wrong,', () => {
  const others: [string, Gateway['answer']][] = [
    ['redirects', (_key, _request, response) => response.writeHead(302, { location: '/login' }).end()],
    ['fails', (_key, _request, response) => response.writeHead(500).end()],
    ['has no such address', (_key, _request, response) => response.writeHead(404).end()],
    ['has had enough', (_key, _request, response) => response.writeHead(429).end()],
    ['hangs up', (_key, request) => request.socket.destroy()],
  ]
  test.each(others)('while the gateway %s; it is asked again at once', async (_title, answer) => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway)
    const good = gateway.answer
    gateway.answer = answer
    const error = await ring.find('good-secret').catch((error: unknown) => error)
    expect(error).toEqual(unavailable)
    expect(JSON.stringify([error, String((error as Error).cause)])).not.toContain('good-secret')
    gateway.answer = good
    expect(await ring.find('good-secret')).toBeDefined()
  })

  test('while the gateway does not answer: after five seconds', async () => {
    await using gateway = await startGateway()
    const { ring } = await open(gateway)
    gateway.answer = () => {}
    const begun = performance.now()
    // More than there are slots: those who wait for one wait no longer.
    const finds = await Promise.allSettled(
      Array.from({ length: 40 }, (_, index) => ring.find(`good-${index}`)),
    )
    expect(finds).toEqual(Array(40).fill({ status: 'rejected', reason: unavailable }))
    expect(performance.now() - begun).toBeGreaterThan(4900)
    expect(performance.now() - begun).toBeLessThan(7000)
  })

  test('while the gateway is not there, which the start says', async () => {
    const gateway = await startGateway()
    await gateway[Symbol.asyncDispose]()
    const { ring, notes } = await open(gateway)
    expect(notes).toEqual([expect.stringMatching(/^AUTH_UPSTREAM_URL: .*cannot be reached/)])
    await expect(ring.find('good')).rejects.toEqual(unavailable)
  })
})

describe('a gateway that shows its models to everybody', () => {
  const toAll: Gateway['answer'] = (_key, _request, response) => response.writeHead(200).end()

  test('stops the start', async () => {
    await using gateway = await startGateway()
    gateway.answer = toAll
    const error = await open(gateway).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(ConfigError)
    expect(error).toHaveProperty('message', expect.stringContaining('lets everybody in'))
  })

  test('lets nobody in, if it was not there at the start', async () => {
    await using gateway = await startGateway()
    gateway.answer = (_key, _request, response) => response.writeHead(500).end()
    const { ring, notes } = await open(gateway)
    expect(notes).toHaveLength(1)
    gateway.answer = toAll
    await expect(ring.find('good')).rejects.toEqual(unavailable)
  })
})
