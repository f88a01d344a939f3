import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fixture, sha256 } from '../support/images.ts'
import { environment, secretNames } from '../support/manifests.ts'
import { placeOf, s3ClientOf } from '../support/place.ts'
import { hasRedis, type RedisServer, startRedis } from '../support/redis-server.ts'
import { freePorts } from '../support/s3-servers.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

/** The pods of `deploy/kubernetes` as processes: each is started with what a pod gets, but for addresses and secrets. */

const SECRET = 'a-secret-of-at-least-32-characters!'

describe.skipIf(!hasRedis())('two replicas as the manifests have them', () => {
  let folder: string
  let redis: RedisServer
  let replicas: { server: ServerProcess; url: string }[] = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'layover-'))
    redis = await startRedis()
    const { S3_ACCESS_KEY_ID = '', S3_SECRET_ACCESS_KEY = '', ...bucket } = placeOf(folder).env
    const known = { SECRET, ...OWN_KEY, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, REDIS_URL: redis.url }
    const secrets = Object.entries(known).filter(([name]) => secretNames().includes(name))
    await makeBucket({ ...bucket, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY })
    const env = { ...environment(), ...Object.fromEntries(secrets), ...bucket, HOST: '127.0.0.1' }
    replicas = await Promise.all(
      (await freePorts(2)).map(async (port) => {
        const dataDir = join(folder, String(port))
        const own = { PORT: String(port), DATA_DIR: dataDir, METRICS_ADDRESS: '127.0.0.1:0' }
        const server = await startServer({ dataDir, env: { ...env, ...own } })
        return { server, url: `http://127.0.0.1:${port}` }
      }),
    )
  })
  afterAll(async () => {
    for (const { server } of replicas) await server[Symbol.asyncDispose]()
    await redis.stop()
    await rm(folder, { recursive: true, force: true })
  })

  async function makeBucket(env: Record<string, string>): Promise<void> {
    const { S3_ENDPOINT = '', S3_ACCESS_KEY_ID = '', S3_SECRET_ACCESS_KEY = '', S3_BUCKET } = env
    const access = {
      endpoint: S3_ENDPOINT,
      accessKeyId: S3_ACCESS_KEY_ID,
      secretAccessKey: S3_SECRET_ACCESS_KEY,
    }
    const client = s3ClientOf(access)
    await client.send(new CreateBucketCommand({ Bucket: S3_BUCKET }))
    client.destroy()
  }

  test('both are alive and ready', async () => {
    for (const { url } of replicas) {
      expect((await call(`${url}/healthz`)).status).toBe(200)
      const { status, body } = await call(`${url}/readyz`)
      expect({ status, text: JSON.parse(String(body)).status }).toEqual({ status: 200, text: 'ok' })
    }
  })

  test('what one takes, the other gives out, counts and deletes', async () => {
    const [one, two] = replicas
    const image = fixture('photo.jpg')
    const remaining: number[] = []
    for (const [to, from] of [
      [one, two],
      [two, one],
    ]) {
      const headers = { 'content-type': 'application/json' }
      const body = JSON.stringify({ data: image.toString('base64') })
      const taken = await call(`${to?.url}/v1/files/uploads/base64`, { method: 'POST', headers, body })
      remaining.push(Number(taken.headers['ratelimit-remaining']))
      const { id, url } = JSON.parse(String(taken.body))
      expect(url).toMatch(/^https:\/\/images\.example\.com\/uploads\//)
      const back = await call(from?.url + new URL(url).pathname)
      expect({ status: back.status, hash: sha256(back.body) }).toEqual({ status: 200, hash: sha256(image) })
      const deleted = await call(`${from?.url}/v1/files/uploads/${id}`, { method: 'DELETE' })
      remaining.push(Number(deleted.headers['ratelimit-remaining']))
      expect(deleted.status).toBe(200)
    }
    // One count for both, unless a minute ended meanwhile.
    expect(remaining.every((left, i) => i === 0 || left === (remaining[i - 1] ?? 0) - 1 || left === 99)).toBe(
      true,
    )
  })

  test('what one has taken is there when it has stopped, and it has kept nothing of its own', async () => {
    const [one, two] = replicas
    const { path } = (await WAYS.form(one?.url ?? '', fixture('photo.png'))) ?? {}
    expect(await one?.server.stop('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(sha256((await call(`${two?.url}${path}`)).body)).toBe(sha256(fixture('photo.png')))
    const names = await readdir(one?.server.dataDir ?? '')
    expect(names.filter((name) => !['cached', 'compiled', 'tmp'].includes(name))).toEqual([])
  })
})
