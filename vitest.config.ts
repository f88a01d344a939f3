import { defineConfig } from 'vitest/config'
import { installedS3 } from './test/support/s3-servers.ts'

/** Tests that run once more on each S3 server: whatever a client can see, and the store itself. */
const ON_S3 = ['test/store/s3.test.ts', 'test/store/s3-links.test.ts', 'test/{http,wire,e2e}/**/*.test.ts']
/** Tests that bring a store of their own, measure the local one, or are about what comes before one is asked. */
const NOT_ON_S3 = [
  'test/http/{clients-page,cors,docs-page,forwarded,openapi-adapters,page,receipts,url-hostile,url-origins}.test.ts',
  'test/http/vision-openapi.test.ts',
  'test/wire/{admission,connection-limits,framing,pace,pipelining,pipelining-bounds,protocol,slow-readers}.test.ts',
  'test/e2e/command-{help,terminal,upload}.test.ts',
  'test/e2e/{bench,clients-apps,clients-picgo,cost,documents,fetchers,log-reader}.test.ts',
  'test/e2e/{proxy-variables,receipts,uncaught,vision-clients,vision-memory,vision-process}.test.ts',
  'test/wire/links-trouble.test.ts',
  'test/wire/vision-trouble.test.ts',
  'test/wire/store-trouble.test.ts',
  'test/wire/s3-{trial,trouble}.test.ts',
  'test/wire/multipart-splits.test.ts',
  'test/e2e/{operations,proxies,proxies-trust,proxies-vision,service}.test.ts',
  'test/wire/fit-pictures.test.ts',
]

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 30_000,
    expect: { poll: { timeout: 10_000 } },
    // In CI, which says which tests needed it, and fails if there were many (.ci/report.mjs).
    retry: process.env.CI ? 1 : 0,
    // CI counts what ran.
    reporters: process.env.CI ? ['default', ['json', { outputFile: 'test-results.json' }]] : ['default'],
    projects: [
      {
        extends: true,
        test: {
          name: 'local',
          include: ['test/**/*.test.ts'],
          exclude: ['test/store/{s3,s3-links}.test.ts', 'test/e2e/{s3,replicas}.test.ts'],
        },
      },
      ...s3Servers().map((name) => ({
        extends: true as const,
        test: {
          name,
          include: ON_S3,
          exclude: NOT_ON_S3,
          globalSetup: 'test/support/s3-setup.ts',
          setupFiles: 'test/support/use-s3.ts',
        },
      })),
    ],
  },
})

/** The S3 servers to test on: the one that is named, or one that can be started here; with REQUIRE_S3, each kind. */
function s3Servers(): string[] {
  if (process.env.TEST_S3_ENDPOINT) return ['s3']
  const installed = installedS3()
  if (process.env.REQUIRE_S3 !== '1') {
    if (installed.length === 0)
      console.warn(
        '\n*** NOT TESTED ON S3: no TEST_S3_ENDPOINT, and neither minio nor radosgw is installed. ***\n',
      )
    return installed.slice(0, 1)
  }
  if (installed.length < 2)
    throw new Error(`REQUIRE_S3 needs minio and radosgw; found: ${installed.join(', ') || 'neither'}`)
  return installed
}
