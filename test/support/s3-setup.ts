import { randomBytes } from 'node:crypto'
import type { TestProject } from 'vitest/node'
import { bucketPrefix, removeBuckets } from './place.ts'
import { type S3Kind, startS3 } from './s3-servers.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The S3 server of this run of the tests, as JSON of `TestStore`. */
    s3: string
  }
}

/** Starts the S3 server that a project's tests run on; or takes the one of `TEST_S3_ENDPOINT`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const runId = randomBytes(4).toString('hex')
  const { TEST_S3_ENDPOINT, TEST_S3_ACCESS_KEY_ID = '', TEST_S3_SECRET_ACCESS_KEY = '' } = process.env
  const server = TEST_S3_ENDPOINT
    ? {
        endpoint: TEST_S3_ENDPOINT,
        accessKeyId: TEST_S3_ACCESS_KEY_ID,
        secretAccessKey: TEST_S3_SECRET_ACCESS_KEY,
        stop: async () => {},
      }
    : await startS3(project.name as S3Kind)
  const { stop, ...access } = server
  project.provide('s3', JSON.stringify({ ...access, runId }))
  return async () => {
    // A server that goes on takes nothing from this run with it.
    if (TEST_S3_ENDPOINT) await removeBuckets(access, bucketPrefix(runId))
    await stop()
  }
}
