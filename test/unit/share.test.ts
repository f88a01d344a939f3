import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { shareOf } from '../../src/workers/share.ts'

const MB = 1024 ** 2
const sharesOf = (env: Record<string, string>) => {
  const { maxConcurrentUploads, maxMemory, cacheSize } = shareOf(loadConfig(env))
  return { uploads: maxConcurrentUploads, memory: maxMemory / MB, cache: cacheSize / MB }
}

test('one worker has all', () => {
  expect(shareOf(loadConfig({}))).toEqual(loadConfig({}))
})

test.each([
  { workers: '2', uploads: 128, memory: 2048, cache: 32 },
  { workers: '3', uploads: 86, memory: 4096 / 3, cache: 64 / 3 },
  // With less memory it could not work.
  { workers: '16', uploads: 16, memory: 512, cache: 4 },
  { workers: '300', uploads: 1, memory: 512, cache: 64 / 300 },
])(
  'of $workers workers, each has its part of what is for the machine',
  ({ workers, uploads, memory, cache }) => {
    const shares = sharesOf({ WORKERS: workers, MAX_MEMORY: '4GB' })
    expect(shares.uploads).toBe(uploads)
    expect(shares.memory).toBeCloseTo(memory, 5)
    expect(shares.cache).toBeCloseTo(cache, 5)
  },
)

test('no limit stays none, and a small one what it is', () => {
  const env = { WORKERS: '4', MAX_CONCURRENT_UPLOADS: '0', MAX_MEMORY: '0', CACHE_SIZE: '0' }
  expect(sharesOf(env)).toEqual({ uploads: 0, memory: 0, cache: 0 })
  expect(sharesOf({ WORKERS: '4', MAX_MEMORY: '100MB' }).memory).toBe(100)
})

test('all else is the same for each', () => {
  const config = loadConfig({ WORKERS: '4', QUOTA: '1GB', RATE_LIMIT: '100/1m' })
  const { maxConnections, maxConnectionsPerAddress, maxConcurrentUploads, maxMemory, cacheSize, vision } =
    shareOf(config)
  const connections = { maxConnections, maxConnectionsPerAddress }
  const divided = { ...connections, maxConcurrentUploads, maxMemory, cacheSize }
  const { maxConcurrent } = vision
  expect(shareOf(config)).toEqual({ ...config, ...divided, vision: { ...config.vision, maxConcurrent } })
})

test('calls of a model at once are divided, too', () => {
  expect(shareOf(loadConfig({ WORKERS: '3' })).vision.maxConcurrent).toBe(22)
  expect(shareOf(loadConfig({ WORKERS: '3', VISION_MAX_CONCURRENT: '0' })).vision.maxConcurrent).toBe(0)
})

test('connections are divided, too', () => {
  const { maxConnections, maxConnectionsPerAddress } = shareOf(loadConfig({ WORKERS: '3' }))
  expect([maxConnections, maxConnectionsPerAddress]).toEqual([3334, 334])
  const env = { WORKERS: '3', MAX_CONNECTIONS: '0', MAX_CONNECTIONS_PER_ADDRESS: '0' }
  expect(shareOf(loadConfig(env))).toMatchObject({ maxConnections: 0, maxConnectionsPerAddress: 0 })
})
