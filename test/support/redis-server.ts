import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { pathOf } from '../../bench/programs.ts'
import { eventually } from './socket.ts'

export interface RedisServer {
  /** With a password that was made for this server. */
  readonly url: string
  /** Kills it, as a power cut would. */
  kill(): Promise<void>
  /** Starts it again after `kill`, at the same URL; it remembers nothing. */
  start(): Promise<void>
  /** Makes it silent, or lets it go on, with its connections open. */
  freeze(frozen: boolean): void
  /** Ends it and removes its folder. */
  stop(): Promise<void>
}

/** Debian's package `redis-server`, if it is installed. */
const program = pathOf('redis-server')

/**
 * Whether there is a Redis for tests: the one of TEST_REDIS_URL, or one that can be started here. If not, says so for all to
 * see, and throws with REQUIRE_REDIS.
 */
export function hasRedis(): boolean {
  if (process.env.TEST_REDIS_URL || program !== undefined) return true
  if (process.env.REQUIRE_REDIS) throw new Error('REQUIRE_REDIS needs redis-server or TEST_REDIS_URL')
  console.warn('\n*** NOT TESTED ON REDIS: no TEST_REDIS_URL, and redis-server is not installed. ***\n')
  return false
}

/** Whether one can be started here, and killed. */
export const canStartRedis = program !== undefined

/** Starts a server on a free port of loopback that keeps everything in memory. */
export async function startRedis(): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'layover-redis-'))
  const password = randomBytes(20).toString('hex')
  const port = await freePort()
  const url = `redis://:${password}@127.0.0.1:${port}`

  async function launch() {
    // Its settings come through a pipe: arguments are for all to see.
    const child = spawn(program ?? 'redis-server', ['-'], { stdio: ['pipe', 'ignore', 'ignore'], env: {} })
    child.stdin.end(
      `bind 127.0.0.1\nport ${port}\nrequirepass ${password}\nsave ""\nappendonly no\ndir ${folder}\n`,
    )
    await eventually(() => answers(url))
    return child
  }
  let child = await launch()

  async function kill() {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  return {
    url,
    kill,
    async start() {
      child = await launch()
    },
    freeze(frozen) {
      child.kill(frozen ? 'SIGSTOP' : 'SIGCONT')
    },
    async stop() {
      await kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.ping()) === 'PONG'
  } catch {
    return false
  } finally {
    client.disconnect()
  }
}

async function freePort(): Promise<number> {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  await new Promise((resolve) => holder.close(resolve))
  return port
}
