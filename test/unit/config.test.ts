import { availableParallelism } from 'node:os'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigError, loadConfig, variableNames } from '../../src/config.ts'
import { rate } from '../../src/config-values.ts'

/** The error of a configuration that cannot be used. */
function faultsOf(environment: Record<string, string>): ConfigError {
  try {
    loadConfig(environment)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  return expect.unreachable(`${JSON.stringify(environment)} was taken`)
}

const GOOD_SECRET = 'x'.repeat(32)
const GOOD_KEY = 'k'.repeat(16)

test('nothing needs to be set', () => {
  expect(loadConfig({})).toEqual({
    host: '127.0.0.1',
    port: 8080,
    publicUrl: undefined,
    uploadPath: '/uploads',
    dataDir: './data',
    secret: undefined,
    apiKeys: undefined,
    authUpstreamUrl: undefined,
    authUpstreamIdentity: undefined,
    maxFileSize: 20 * 1024 * 1024,
    maxPixels: 100_000_000,
    lifetime: 72 * 3600,
    maxLifetime: 72 * 3600,
    presignLifetime: 900,
    maxOpenLinks: 1000,
    sweepInterval: 60,
    store: 'local',
    s3: {
      endpoint: undefined,
      region: 'us-east-1',
      bucket: '',
      credentials: undefined,
      forcePathStyle: true,
      prefix: 'images/',
      createBucket: true,
      timeout: 60,
    },
    s3Presign: { endpoint: undefined, credentials: undefined, prefix: 'incoming/' },
    s3PublicUrl: undefined,
    minFreeSpace: 100 * 1024 * 1024,
    workers: 1,
    maxConnections: 10_000,
    maxConnectionsPerAddress: 1000,
    maxConcurrentUploads: 256,
    maxKeyShare: 50,
    maxMemory: 1024 ** 3,
    cacheSize: 64 * 1024 ** 2,
    urlFetch: { isOn: true, allow: [], timeout: 20 },
    fit: { workers: 2, timeout: 20, memory: 512 * 1024 ** 2 },
    vision: {
      upstreamUrl: undefined,
      upstreamKey: undefined,
      images: 'inline',
      rehost: false,
      timeout: 300,
      maxBody: 128 * 1024 ** 2,
      maxConcurrent: 64,
    },
    quota: 0,
    quotaWindow: 86_400,
    rateLimit: { count: 0, seconds: 1 },
    redisUrl: undefined,
    trustProxy: undefined,
    page: 'on',
    receipts: true,
    adapters: [],
    corsOrigin: undefined,
    uploadTimeout: 300,
    minUploadRate: 1024,
    minReadRate: 1024,
    idleTimeout: 30,
    stopTimeout: 20,
    metricsAddress: undefined,
    logLevel: 'info',
  })
})

test('an empty variable is an unset one', () => {
  expect(loadConfig(Object.fromEntries(variableNames.map((name) => [name, ''])))).toEqual(loadConfig({}))
})

test('what belongs to other programs is ignored', () => {
  expect(loadConfig({ PATH: '/bin', LAYOVER: '1', port: '1' })).toEqual(loadConfig({}))
})

test('nobody can change it afterwards', () => {
  const config = loadConfig({ API_KEYS: `ci:${GOOD_KEY}` })
  expect(Object.isFrozen(config)).toBe(true)
  expect(() => Object.assign(config, { port: 1 })).toThrow(TypeError)
})

describe('ADAPTERS', () => {
  test.each([
    ['picgo', ['picgo']],
    [' lsky , plain,lsky', ['lsky', 'plain']],
    ['all', ['chevereto', 'lsky', 'picgo', 'plain']],
  ])('can be "%s"', (text, adapters) => {
    expect(loadConfig({ ADAPTERS: text }).adapters).toEqual(adapters)
  })

  test.each(['imgur', 'picgo,', 'PicGo', 'all,picgo', 'constructor'])(
    'cannot be "%s", and the fault lists the good ones',
    (text) => {
      expect(faultsOf({ ADAPTERS: text }).message).toMatch(/ADAPTERS: .*chevereto, lsky, picgo, plain/)
    },
  )
})

describe('quantities', () => {
  test.each([
    ['MAX_FILE_SIZE', '1B', { maxFileSize: 1 }],
    ['MAX_FILE_SIZE', '500KB', { maxFileSize: 512_000 }],
    ['MAX_FILE_SIZE', '20 mb', { maxFileSize: 20_971_520 }],
    ['MAX_FILE_SIZE', ' 1GB ', { maxFileSize: 1_073_741_824 }],
    ['MAX_PIXELS', '1MP', { maxPixels: 1_000_000 }],
    ['LIFETIME', '90s', { lifetime: 90, maxLifetime: 90 }],
    ['LIFETIME', '5m', { lifetime: 300, maxLifetime: 300 }],
    ['LIFETIME', '3d', { lifetime: 259_200, maxLifetime: 259_200 }],
    ['LIFETIME', 'never', { lifetime: Number.POSITIVE_INFINITY, maxLifetime: Number.POSITIVE_INFINITY }],
    ['MAX_LIFETIME', '365d', { lifetime: 259_200, maxLifetime: 31_536_000 }],
    ['MAX_LIFETIME', 'never', { lifetime: 259_200, maxLifetime: Number.POSITIVE_INFINITY }],
    ['SWEEP_INTERVAL', '0', { sweepInterval: 0 }],
    ['MIN_FREE_SPACE', '0', { minFreeSpace: 0 }],
    ['MAX_CONCURRENT_UPLOADS', '0', { maxConcurrentUploads: 0 }],
    ['MAX_CONCURRENT_UPLOADS', '1000', { maxConcurrentUploads: 1000 }],
    ['MAX_MEMORY', '0', { maxMemory: 0 }],
    ['CACHE_SIZE', '0', { cacheSize: 0 }],
    ['FIT_WORKERS', '0', { fit: { workers: 0, timeout: 20, memory: 512 * 1024 ** 2 } }],
    ['CACHE_SIZE', '1GB', { cacheSize: 1024 ** 3 }],
    ['MIN_UPLOAD_RATE', '0', { minUploadRate: 0 }],
    ['MIN_UPLOAD_RATE', '1MB', { minUploadRate: 1_048_576 }],
    ['MIN_READ_RATE', '0', { minReadRate: 0 }],
    ['MIN_READ_RATE', '1MB', { minReadRate: 1_048_576 }],
    ['UPLOAD_TIMEOUT', '2H', { uploadTimeout: 7200 }],
  ])('%s can be %s', (name, text, expected) => {
    expect(loadConfig({ [name]: text })).toMatchObject(expected)
  })

  test.each([
    [
      'MAX_FILE_SIZE',
      ['20', '0', '0MB', '-1MB', '1.5MB', '1e3KB', 'MB', '20MiB', '20M', '20 MB B', `${'9'.repeat(20)}GB`],
    ],
    ['MAX_PIXELS', ['100', '100MB', '0MP']],
    ['LIFETIME', ['0', '0s', '72', 'Never!', 'forever', '1w', '365001d', '99999999999d']],
    // A longer timer would overflow and fire at once.
    ['SWEEP_INTERVAL', ['off', '00', '-1s', '25d']],
    ['STOP_TIMEOUT', ['0', '30d']],
    ['MAX_CONCURRENT_UPLOADS', ['-1', '1.5', 'many', '10 000']],
    ['UPLOAD_TIMEOUT', ['25d']],
    ['IDLE_TIMEOUT', ['577h']],
    ['UPLOAD_TIMEOUT', ['0', 'never']],
  ])('%s can be none of %j', (name, texts) => {
    for (const text of texts) expect(faultsOf({ [name]: text }).message, text).toContain(`${name}: `)
  })
})

describe('where uploads by link arrive', () => {
  const s3 = { STORE: 's3', S3_BUCKET: 'images' }
  const apart = 'S3_INCOMING_PREFIX: neither'

  test.each([
    [{ S3_PREFIX: 'a/', S3_INCOMING_PREFIX: 'a/incoming/' }, apart],
    [{ S3_PREFIX: 'a/images/', S3_INCOMING_PREFIX: 'a/' }, apart],
    [{ S3_PREFIX: 'incoming' }, apart],
    [{ S3_INCOMING_PREFIX: '/' }, apart],
    [{ S3_PREFIX: '/', S3_PUBLIC_URL: 'https://cdn.example.com' }, 'S3_PREFIX: must not be empty'],
    [{ S3_PRESIGN_ACCESS_KEY_ID: 'half' }, 'S3_PRESIGN_SECRET_ACCESS_KEY: is needed'],
    [{ PRESIGN_LIFETIME: '8d' }, 'PRESIGN_LIFETIME: "8d" is too long'],
  ])('is not %j', (env, fault) => {
    expect(faultsOf({ ...s3, ...env }).message).toContain(fault)
  })

  test.each([
    { S3_PREFIX: '/' },
    { S3_PREFIX: 'incoming/', PRESIGN_LIFETIME: '0' },
    { S3_PREFIX: '/', S3_PUBLIC_URL: 'https://cdn.example.com', S3_PRESIGN_ENDPOINT: 'off' },
    { S3_PREFIX: '/', S3_PUBLIC_URL: 'https://cdn.example.com', PRESIGN_LIFETIME: '0' },
  ])('can be with %j', (env) => {
    expect(loadConfig({ ...s3, ...env }).store).toBe('s3')
  })
})

describe('faults', () => {
  test('are listed all at once, a line each, with what to write', () => {
    const { message } = faultsOf({
      PORT: '70000',
      PUBLIC_URL: 'images.example.com',
      UPLOAD_PATH: 'uploads',
      SECRET: 'short',
      API_KEYS: 'nobody',
      MAX_FILE_SIZE: '20',
      STORE: 'tape',
      LOG_LEVEL: 'loud',
    })
    const [, ...lines] = message.split('\n')
    const named = lines.map((line) => line.trim().split(':')[0])
    expect(named).toEqual(
      expect.arrayContaining([
        'PORT',
        'PUBLIC_URL',
        'UPLOAD_PATH',
        'SECRET',
        'API_KEYS',
        'MAX_FILE_SIZE',
        'STORE',
        'LOG_LEVEL',
      ]),
    )
    expect(lines).toHaveLength(8)
    expect(message).toContain('https://images.example.com')
    expect(message).toContain('like 10B')
  })

  test('in two variables together are listed beside the others', () => {
    const { message } = faultsOf({ PORT: 'http', LIFETIME: '100h', MAX_LIFETIME: '72h' })
    expect(message).toContain('PORT: ')
    expect(message).toContain('LIFETIME: ')
  })

  test.each([
    ['73h', '72h'],
    ['never', '72h'],
  ])('are a LIFETIME of %s with a MAX_LIFETIME of %s', (LIFETIME, MAX_LIFETIME) => {
    expect(faultsOf({ LIFETIME, MAX_LIFETIME }).message).toMatch(/LIFETIME: .*MAX_LIFETIME/)
  })

  test.each(['-1', '65536', '80.5', 'http'])('are a PORT of %s', (PORT) => {
    expect(faultsOf({ PORT }).message).toContain('PORT: ')
  })
})

describe('STORE=s3', () => {
  const bucket = { STORE: 's3', S3_BUCKET: 'images' }
  const key = { S3_ACCESS_KEY_ID: 'AKIAEXAMPLE', S3_SECRET_ACCESS_KEY: 'example-secret' }

  test('takes a server, a bucket and a key', () => {
    const env = { ...bucket, ...key, S3_ENDPOINT: 'http://objectstore:9000/', S3_REGION: 'eu-central-1' }
    expect(loadConfig(env).s3).toMatchObject({
      endpoint: 'http://objectstore:9000',
      region: 'eu-central-1',
      bucket: 'images',
      credentials: { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'example-secret' },
    })
  })

  test('on AWS needs no key, as the machine may have a role', () => {
    expect(loadConfig(bucket).s3.credentials).toBeUndefined()
  })

  test.each([
    [{ STORE: 's3' }, ['S3_BUCKET']],
    [{ ...bucket, S3_ENDPOINT: 'http://localhost:9000' }, ['S3_ACCESS_KEY_ID']],
    [{ ...bucket, S3_ACCESS_KEY_ID: 'AKIAEXAMPLE' }, ['S3_SECRET_ACCESS_KEY']],
    [{ ...bucket, S3_SECRET_ACCESS_KEY: 'example-secret' }, ['S3_ACCESS_KEY_ID']],
    [{ STORE: 's3', S3_ENDPOINT: 'localhost:9000' }, ['S3_ENDPOINT', 'S3_BUCKET', 'S3_ACCESS_KEY_ID']],
    [
      { ...bucket, S3_FORCE_PATH_STYLE: 'yes', S3_CREATE_BUCKET: '1' },
      ['S3_FORCE_PATH_STYLE', 'S3_CREATE_BUCKET'],
    ],
  ] as [Record<string, string>, string[]][])('%j lacks or has wrong: %j', (env, names) => {
    const lines = faultsOf(env).message.split('\n').slice(1)
    expect(lines.map((line) => line.trim().split(':')[0]).sort()).toEqual(names.sort())
    expect(lines.join()).not.toContain('example-secret')
  })

  test.each(['Images', 'a', '-images', 'im_ages', 'a'.repeat(64), 'images/', 'images?'])(
    '"%s" is no name of a bucket',
    (name) => {
      expect(faultsOf({ ...bucket, S3_BUCKET: name }).message).toMatch(/S3_BUCKET: /)
    },
  )

  test.each([
    ['images/', 'images/'],
    ['images', 'images/'],
    ['a/b.c/d_e-f', 'a/b.c/d_e-f/'],
    ['/', ''],
  ])('S3_PREFIX=%s makes keys begin with "%s"', (text, prefix) => {
    expect(loadConfig({ ...bucket, S3_PREFIX: text }).s3.prefix).toBe(prefix)
  })

  test.each(['/images', 'a//b', 'a b', 'ä/', '//', 'a/../b', '.'])('S3_PREFIX=%s is refused', (text) => {
    expect(faultsOf({ ...bucket, S3_PREFIX: text }).message).toMatch(/S3_PREFIX: /)
  })

  test('S3_PUBLIC_URL counts for this store alone', () => {
    const url = { S3_PUBLIC_URL: 'https://cdn.example.com/' }
    expect(loadConfig({ ...bucket, ...url }).s3PublicUrl).toBe('https://cdn.example.com')
    expect(loadConfig(url).s3PublicUrl).toBeUndefined()
  })
})

describe('PUBLIC_URL', () => {
  test.each([
    ['https://images.example.com', 'https://images.example.com'],
    ['https://images.example.com/', 'https://images.example.com'],
    ['HTTPS://Images.Example.com:443//', 'https://images.example.com'],
    ['http://192.0.2.1:8080', 'http://192.0.2.1:8080'],
    ['https://example.com/layover/', 'https://example.com/layover'],
  ])('%s is %s', (PUBLIC_URL, publicUrl) => {
    expect(loadConfig({ PUBLIC_URL })).toMatchObject({ publicUrl })
  })

  test.each([
    'images.example.com',
    'ftp://images.example.com',
    'javascript:alert(1)',
    'https://',
    'https://user:password@images.example.com',
    'https://images.example.com?x=1',
    'https://images.example.com/#top',
    'https://images.example.com/?',
    'https://images.example.com/#',
  ])('cannot be %s', (PUBLIC_URL) => {
    expect(faultsOf({ PUBLIC_URL }).message).toContain('PUBLIC_URL: ')
  })
})

describe('UPLOAD_PATH', () => {
  test.each([
    ['/i', '/i'],
    ['/uploads/', '/uploads'],
    ['/a/b-c/d_e.f~g', '/a/b-c/d_e.f~g'],
    ['/.well-known', '/.well-known'],
  ])('%s is %s', (UPLOAD_PATH, uploadPath) => {
    expect(loadConfig({ UPLOAD_PATH })).toMatchObject({ uploadPath })
  })

  const unusable =
    '/ // uploads uploads/ /a//b /.. /. /../a /a/.. /a/../b /a/. /%2e%2e /a?b /a#b /:id /* /a\\b /ü'
  test.each([...unusable.split(' '), '/a b', '/a\n'])('cannot be %j', (UPLOAD_PATH) => {
    expect(faultsOf({ UPLOAD_PATH }).message).toContain('UPLOAD_PATH: ')
  })
})

describe('secrets', () => {
  test('a SECRET has at least 32 bytes, however many characters those are', () => {
    expect(loadConfig({ SECRET: GOOD_SECRET }).secret).toEqual(Buffer.from(GOOD_SECRET))
    expect(loadConfig({ SECRET: 'ü'.repeat(16) }).secret).toHaveLength(32)
    expect(faultsOf({ SECRET: GOOD_SECRET.slice(1) }).message).toMatch(/SECRET: .*32 bytes.*openssl/)
  })

  test('API_KEYS holds one key or several, each with a name', () => {
    expect(loadConfig({ API_KEYS: `ci:${GOOD_KEY}` }).apiKeys).toEqual([{ name: 'ci', key: GOOD_KEY }])
    const text = ` ci : ${GOOD_KEY} , me@example.com:with:colons:in:it`
    expect(loadConfig({ API_KEYS: text }).apiKeys).toEqual([
      { name: 'ci', key: GOOD_KEY },
      { name: 'me@example.com', key: 'with:colons:in:it' },
    ])
  })

  test.each([
    ['a short key', `ci:${GOOD_KEY.slice(1)}`],
    ['a short key after a good one', `ci:${GOOD_KEY},me:short`],
    ['two keys of one name', `ci:${GOOD_KEY},ci:${GOOD_KEY}2`],
    ['an empty name', `:${GOOD_KEY}`],
    ['a space in a name', `my laptop:${GOOD_KEY}`],
    ['a space in a key', `ci:${GOOD_KEY} ${GOOD_KEY}`],
    ['nothing after the last comma', `ci:${GOOD_KEY},`],
    // The key would become most of its own name, and names are logged.
    ['a key without a name', GOOD_KEY],
    ['a key without a name after a good one', `ci:${GOOD_KEY},${GOOD_KEY}2`],
  ])('API_KEYS cannot have %s', (_title, API_KEYS) => {
    expect(faultsOf({ API_KEYS }).message).toContain('API_KEYS: ')
  })

  test('API_KEYS cannot have one key under two names, and the fault says which', () => {
    const { message } = faultsOf({ API_KEYS: `ci:${GOOD_KEY}, other:${GOOD_KEY}2, me:${GOOD_KEY}` })
    expect(message).toMatch(/API_KEYS: .*two names, ci and me/)
    expect(message).not.toContain(GOOD_KEY)
  })

  test('no message ever repeats any of them', () => {
    // Upper case, so that nothing of it stands in a message by chance.
    const secret = fc.stringMatching(/^[A-Z0-9]{8,15}$/)
    const badKeys = fc.oneof(
      secret.map((key) => `ci:${key}`),
      secret.map((key) => `:${key}${key}`),
      secret.map((key) => `ci:${key}${key},`),
      secret.map((key) => `ci:${key} ${key}`),
      secret.map((key) => `ci:${key}${key},ci:${key}${key}`),
      secret.map((key) => `ci:${key}${key},me:${key}${key}`),
    )
    fc.assert(
      fc.property(secret, badKeys, (SECRET, API_KEYS) => {
        const shown = inspect(faultsOf({ SECRET, API_KEYS }), { depth: 10 })
        expect(shown).toContain('SECRET: ')
        expect(shown).toContain('API_KEYS: ')
        expect(shown).not.toContain(SECRET)
        for (const word of API_KEYS.match(/[A-Z0-9]{8,}/g) ?? []) expect(shown).not.toContain(word)
      }),
    )
  })
})

describe('TRUST_PROXY', () => {
  test.each([
    ['10.0.0.1', ['10.0.0.1']],
    ['10.0.0.0/8, ::1', ['10.0.0.0/8', '::1']],
    ['loopback', ['loopback']],
  ])('%s is %j', (text, value) => {
    expect(loadConfig({ TRUST_PROXY: text }).trustProxy).toEqual(value)
  })

  test.each([
    'true',
    '0',
    '1',
    '10',
    'proxy.example.com',
    '10.0.0.0/99',
    '10.0.0.1,',
    '0.0.0.0/0',
    '::/0',
    '10.1',
  ])('%s is refused', (text) => {
    expect(faultsOf({ TRUST_PROXY: text }).message).toMatch(/TRUST_PROXY: /)
  })
})

describe('CORS_ORIGIN', () => {
  test.each([
    ['*', '*'],
    ['https://app.example.com, http://localhost:3000', ['https://app.example.com', 'http://localhost:3000']],
  ])('%s is %j', (text, value) => {
    expect(loadConfig({ CORS_ORIGIN: text }).corsOrigin).toEqual(value)
  })

  test.each(['app.example.com', 'https://app.example.com/', 'https://*.example.com,*', 'null'])(
    '%s is refused',
    (text) => {
      expect(faultsOf({ CORS_ORIGIN: text }).message).toMatch(/CORS_ORIGIN: /)
    },
  )
})

describe('URL_FETCH_ALLOW', () => {
  test.each([
    ['images.internal', [{ host: 'images.internal' }]],
    ['Intranet., b_1.test:8080', [{ host: 'intranet' }, { host: 'b_1.test', port: 8080 }]],
    ['bücher.example', [{ host: 'xn--bcher-kva.example' }]],
    ['127.0.0.1', [{ range: '127.0.0.1/32' }]],
    ['127.0.0.1:9000,10.0.0.0/8', [{ range: '127.0.0.1/32', port: 9000 }, { range: '10.0.0.0/8' }]],
    ['::1', [{ range: '::1/128' }]],
    ['[::1]', [{ range: '::1/128' }]],
    ['[::1]:9000', [{ range: '::1/128', port: 9000 }]],
    ['fd00::/8, [fd00::/8]:81', [{ range: 'fd00::/8' }, { range: 'fd00::/8', port: 81 }]],
  ])('%s is %j', (text, value) => {
    expect(loadConfig({ URL_FETCH_ALLOW: text }).urlFetch.allow).toEqual(value)
  })

  test.each([
    ...['*', '*.internal', 'http://images.internal', 'images.internal/', 'images.internal,', 'a b', '.'],
    ...['images.internal:0', 'images.internal:99999', 'images.internal:http', 'user@images.internal'],
    ...[
      '0.0.0.0/0',
      '::/0',
      '10.0.0.0/99',
      '10.0/8',
      '127.1',
      '2130706433',
      '[images.internal]',
      '[::1',
      '::1%lo',
    ],
  ])('%s is refused', (text) => {
    expect(faultsOf({ URL_FETCH_ALLOW: text }).message).toMatch(/URL_FETCH_ALLOW: /)
  })
})

test('URL_FETCH and URL_FETCH_TIMEOUT', () => {
  expect(loadConfig({ URL_FETCH: 'off', URL_FETCH_TIMEOUT: '1m' }).urlFetch).toEqual({
    ...{ isOn: false, allow: [], timeout: 60 },
  })
  expect(faultsOf({ URL_FETCH: 'yes' }).message).toContain('URL_FETCH: ')
  expect(faultsOf({ URL_FETCH_TIMEOUT: '0' }).message).toContain('URL_FETCH_TIMEOUT: ')
})

test('keys come from one place: API_KEYS and AUTH_UPSTREAM_URL together are refused', () => {
  const API_KEYS = `ci:${GOOD_KEY}`
  const AUTH_UPSTREAM_URL = 'https://gateway.example.com/v1/'
  expect(faultsOf({ API_KEYS, AUTH_UPSTREAM_URL }).message).toContain('AUTH_UPSTREAM_URL: ')
  expect(loadConfig({ AUTH_UPSTREAM_URL }).authUpstreamUrl).toBe('https://gateway.example.com/v1')
  const withPassword = 'https://user:hunter2@gateway.example.com'
  expect(faultsOf({ AUTH_UPSTREAM_URL: withPassword }).message).not.toContain('hunter2')
})

describe('AUTH_UPSTREAM_IDENTITY', () => {
  const AUTH_UPSTREAM_URL = 'https://gateway.example.com'

  test.each([
    ['header:X-User-Id', { path: '/models', header: 'x-user-id' }],
    ['header:x-user-id@/v1/me', { path: '/v1/me', header: 'x-user-id' }],
    ['json:user', { path: '/models', member: ['user'] }],
    [' json:info.user_id@/key/info ', { path: '/key/info', member: ['info', 'user_id'] }],
  ])('can be "%s"', (AUTH_UPSTREAM_IDENTITY, identity) => {
    const config = loadConfig({ AUTH_UPSTREAM_URL, AUTH_UPSTREAM_IDENTITY })
    expect(config.authUpstreamIdentity).toEqual(identity)
  })

  test.each([
    'x-user-id',
    'header:',
    'header:x user',
    'json:',
    'json:a..b',
    'json:.a',
    'json:a@key/info',
    'json:a@/../admin',
    'json:a@/key?x=1',
    'json:a@//evil.example',
    'cookie:a',
  ])('cannot be "%s", and the fault shows how to write it', (AUTH_UPSTREAM_IDENTITY) => {
    const { message } = faultsOf({ AUTH_UPSTREAM_URL, AUTH_UPSTREAM_IDENTITY })
    expect(message).toMatch(/AUTH_UPSTREAM_IDENTITY: .*header:x-user-id.*json:info\.user_id@\/key\/info/)
  })

  test('is of no use without a gateway', () => {
    const fault = faultsOf({ AUTH_UPSTREAM_IDENTITY: 'header:x-user-id' })
    expect(fault.message).toContain('AUTH_UPSTREAM_IDENTITY: is for a gateway; set AUTH_UPSTREAM_URL')
  })
})

describe('calls of a model', () => {
  const VISION_UPSTREAM_URL = 'https://gateway.example.com/v1/'

  test('go to an address, with a key that no message repeats', () => {
    const { vision } = loadConfig({ VISION_UPSTREAM_URL, VISION_UPSTREAM_KEY: 'sk-x', VISION_REHOST: 'on' })
    expect(vision).toMatchObject({
      upstreamUrl: 'https://gateway.example.com/v1',
      upstreamKey: 'sk-x',
      rehost: true,
    })
    const { message } = faultsOf({
      VISION_UPSTREAM_KEY: 'hunter2 ä',
      VISION_IMAGES: 'both',
      VISION_TIMEOUT: '0',
    })
    expect(message).toMatch(/VISION_UPSTREAM_KEY: .*VISION_IMAGES: .*VISION_TIMEOUT: /s)
    expect(message).not.toContain('hunter2')
  })

  test('do not go to this server itself, nor fetch images where nothing is fetched', () => {
    const PUBLIC_URL = 'https://gateway.example.com'
    expect(faultsOf({ VISION_UPSTREAM_URL, PUBLIC_URL }).message).toContain('VISION_UPSTREAM_URL: ')
    expect(loadConfig({ VISION_UPSTREAM_URL, PUBLIC_URL: 'https://images.example.com' })).toBeDefined()
    expect(faultsOf({ VISION_REHOST: 'on', URL_FETCH: 'off' }).message).toContain('VISION_REHOST: ')
  })
})

describe('a rate', () => {
  const read = (text: string) => z.string().transform(rate).safeParse(text).data

  test.each([
    ['100/1m', { count: 100, seconds: 60 }],
    ['1 / 2h', { count: 1, seconds: 7200 }],
    ['0', { count: 0, seconds: 1 }],
  ])('%s is taken', (text, value) => expect(read(text)).toEqual(value))

  test.each(['', '100', '100/', '/1m', '0/1m', '100/1', '100/0s', '-1/1m', '1.5/1m', '1/30d', '100/1m/1m'])(
    '"%s" is refused',
    (text) => expect(read(text)).toBeUndefined(),
  )
})

test('UPLOAD_PATH cannot be where the server has addresses of its own', () => {
  for (const path of ['/v1', '/api/images', '/delete', '/docs', '/healthz'])
    expect(faultsOf({ UPLOAD_PATH: path }).message).toMatch(/UPLOAD_PATH: .*of its own/)
})

describe('MAX_KEY_SHARE', () => {
  test('is a whole number of percent', () => {
    expect(loadConfig({ MAX_KEY_SHARE: '25%' }).maxKeyShare).toBe(25)
    expect(loadConfig({ MAX_KEY_SHARE: '100 %' }).maxKeyShare).toBe(100)
  })

  test.each(['0%', '101%', '50', '0.5', 'half', '-1%', '33.3%'])('is not %s', (text) => {
    expect(faultsOf({ MAX_KEY_SHARE: text }).message).toMatch(/MAX_KEY_SHARE: .* from 1% to 100%, like 50%/)
  })
})

describe('WORKERS', () => {
  test('is a number, or as many as run at the same time', () => {
    expect(loadConfig({ WORKERS: '12' }).workers).toBe(12)
    expect(loadConfig({ WORKERS: 'auto' }).workers).toBe(availableParallelism())
  })

  test.each(['0', '-1', '2.5', '1000', 'two', 'AUTO', '2 '])('%s is refused', (text) => {
    expect(faultsOf({ WORKERS: text }).message).toMatch(/WORKERS: .* is not a number from 1/)
  })

  test('must be 1 where each would have images of its own', () => {
    expect(faultsOf({ WORKERS: '2', STORE: 'memory' }).message).toMatch(
      /WORKERS: must be 1 with STORE=memory/,
    )
    expect(loadConfig({ WORKERS: '1', STORE: 'memory' }).workers).toBe(1)
  })
})

describe('METRICS_ADDRESS', () => {
  test.each([
    ['127.0.0.1:9464', { host: '127.0.0.1', port: 9464 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['metrics.internal:80', { host: 'metrics.internal', port: 80 }],
  ])('%s is %j', (text, value) => {
    expect(loadConfig({ METRICS_ADDRESS: text }).metricsAddress).toEqual(value)
  })

  test.each([
    '9464',
    ':9464',
    '127.0.0.1',
    '127.0.0.1:70000',
    '::1:9464',
    '[x]:1',
    'http://a:1',
    'a:1/metrics',
  ])('%s is refused', (text) => {
    expect(faultsOf({ METRICS_ADDRESS: text }).message).toMatch(/METRICS_ADDRESS: /)
  })
})

test('a quota may be for a month', () => {
  expect(loadConfig({ QUOTA: '10GB', QUOTA_WINDOW: '30d' }).quotaWindow).toBe(30 * 86_400)
})
