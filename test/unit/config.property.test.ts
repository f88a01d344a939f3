import { inspect } from 'node:util'
import fc from 'fast-check'
import { fastify } from 'fastify'
import { expect, test } from 'vitest'
import { type Config, ConfigError, loadConfig, variableNames } from '../../src/config.ts'

const seed = 20_260_101

/** Pieces that values are made of, right and wrong. */
const pieces = [
  ...[
    '0',
    '1',
    '24',
    '99999999999999999999',
    '-',
    '+',
    '.',
    'e',
    'MB',
    'h',
    'd',
    's',
    'MP',
    '/',
    ':',
    ',',
    ' ',
    '\t',
    '\n',
  ],
  ...[
    'http://',
    'https://',
    'redis://',
    'localhost',
    '127.0.0.1',
    '10.0.0.0/8',
    '::1',
    '%',
    '[',
    ']',
    '@',
    '?',
    '#',
    '*',
  ],
  ...[
    'never',
    'true',
    'false',
    's3',
    'local',
    'memory',
    'info',
    '..',
    '/uploads',
    'name:',
    'k'.repeat(16),
    '\0',
    'ü',
    '😀',
  ],
]
const value = fc.oneof(
  fc.array(fc.constantFrom(...pieces), { maxLength: 5 }).map((pieces) => pieces.join('')),
  fc.string({ unit: 'binary', maxLength: 60 }),
)
const names = fc.constantFrom(...variableNames, '__proto__', 'constructor', 'toString', '')

/** The configuration, or why it cannot be used; any other failure fails the test. */
function load(environment: Record<string, string>): Config | ConfigError {
  try {
    return loadConfig(environment)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
}

test('whatever the variables say, they can be used or are refused by name', () => {
  const outcomes = { used: 0, refused: 0 }
  fc.assert(
    fc.property(fc.dictionary(names, value, { maxKeys: 4 }), (environment) => {
      const result = load(environment)
      outcomes[result instanceof ConfigError ? 'refused' : 'used'] += 1
      if (!(result instanceof ConfigError)) return
      const [, first = ''] = result.message.split('\n')
      expect(variableNames).toContain(first.trim().split(':')[0])
    }),
    { numRuns: 4000, seed },
  )
  expect(Math.min(outcomes.used, outcomes.refused)).toBeGreaterThan(300)
})

test('proxies that are taken are ones that the server understands', () => {
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.constantFrom('loopback', 'fe80::1%eth0', '::ffff:1.2.3.4', '1.2'),
  )
  const bits = fc.oneof(
    fc.constant(''),
    fc.integer({ min: -1, max: 130 }).map((bits) => `/${bits}`),
    fc.constantFrom('/', '/08', '/1e1', '/ 8'),
  )
  const list = fc.array(
    fc.tuple(address, bits).map(([address, bits]) => address + bits),
    { minLength: 1, maxLength: 3 },
  )
  let taken = 0
  fc.assert(
    fc.property(list, (list) => {
      const config = load({ TRUST_PROXY: list.join(', ') })
      if (config instanceof ConfigError) return
      taken += 1
      fastify({ trustProxy: config.trustProxy ?? false })
    }),
    { numRuns: 500, seed },
  )
  expect(taken).toBeGreaterThan(50)
})

test('no message repeats a secret, whichever variable has it and whatever is wrong with it or others', () => {
  // Upper case, so that nothing of it stands in a message by chance.
  const secret = fc.stringMatching(/^[A-Z0-9]{12,40}$/)
  const odd = fc.constantFrom('', ' ', ':', '@', '#', '%', '\n', '/', ',', '\\', '?')
  const around = fc.record({ secret, before: odd, after: odd })
  const write: readonly ((given: {
    secret: string
    before: string
    after: string
  }) => Record<string, string>)[] = [
    ({ secret, before, after }) => ({ SECRET: before + secret.slice(0, 20) + after }),
    ({ secret, before, after }) => ({ API_KEYS: `ci${before}:${before}${secret}${after},` }),
    ({ secret, before }) => ({ API_KEYS: `${before}${secret}` }),
    ({ secret, before, after }) => ({ S3_SECRET_ACCESS_KEY: before + secret + after, STORE: 's3' }),
    ({ secret, before, after }) => ({ REDIS_URL: `redis://user:${before}${secret}${after}@host:99999` }),
    ({ secret, before, after }) => ({ REDIS_URL: `${before}user:${secret}${after}@host` }),
    ...['PUBLIC_URL', 'S3_ENDPOINT', 'S3_PUBLIC_URL', 'AUTH_UPSTREAM_URL'].map(
      (name) =>
        ({ secret, before, after }: { secret: string; before: string; after: string }) => ({
          [name]: `https://user:${before}${secret}${after}@host/`,
        }),
    ),
  ]
  fc.assert(
    fc.property(fc.nat(write.length - 1), around, fc.constantFrom('http', ''), (which, given, PORT) => {
      const result = load({ PORT, LIFETIME: 'soon', ...write[which]?.(given) })
      expect(result).toBeInstanceOf(ConfigError)
      expect(inspect(result, { depth: 10 })).not.toContain(given.secret.slice(0, 12))
    }),
    { numRuns: 2000, seed },
  )
})
