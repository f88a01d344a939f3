import { execFile } from 'node:child_process'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import { connections, linesOf, workersOf } from '../support/crew.ts'
import { pngOfSize, sha256 } from '../support/images.ts'
import { failToStart, type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { call, OWN_KEY, WAYS } from '../support/ways.ts'

// Three processes take their time to start where others run besides.
vi.setConfig({ testTimeout: 90_000 })

const WORKERS = '2'

/** An image like no other. */
const image = (number: number, size = 3000) => Buffer.concat([pngOfSize(size), Buffer.from(`no ${number}`)])

describe('two workers', () => {
  test('serve one port, and what one of them has taken in, the other gives out', async () => {
    await using server = await startServer({ env: { WORKERS, ...OWN_KEY } })
    await using agents = await connections(server)
    const pids = workersOf(server)
    expect([...agents.keys()].sort()).toEqual(pids.sort())
    expect(pids).not.toContain(server.pid)
    for (const [from, to] of [pids, [...pids].reverse()]) {
      const bytes = image(from ?? 0)
      // A link may lead to the bucket, past all workers.
      for (const way of [WAYS.form, WAYS.base64]) {
        const { path } = await way(server.url, bytes, agents.get(from ?? 0))
        const agent = agents.get(to ?? 0)
        const back = await call(server.url + path, { ...(agent && { agent }) })
        expect({ status: back.status, hash: sha256(back.body) }).toEqual({ status: 200, hash: sha256(bytes) })
      }
    }
  })

  test('say once what a start has to say: the first key, the warnings, that it is ready', async () => {
    await using server = await startServer({ env: { WORKERS, MIN_FREE_SPACE: '100000GB' } })
    expect(server.output().match(/Your API key/g)).toHaveLength(1)
    expect(server.output()).toContain(`Layover is running at ${server.url}`)
    for (const text of [/MIN_FREE_SPACE: uploads are refused/, /no model can fetch/, /^ready$/])
      expect(linesOf(server).filter(({ msg }) => text.test(String(msg)))).toHaveLength(1)
    await eventually(() => linesOf(server).some(({ msg }) => msg === 'sweep'))
    expect(new Set(linesOf(server).map(({ pid, msg }) => msg === 'sweep' && pid))).toEqual(
      new Set([false, server.pid]),
    )
    // The key is one of both.
    await using agents = await connections(server)
    for (const agent of agents.values()) {
      const headers = { authorization: `Bearer ${server.key()}` }
      expect((await call(`${server.url}/v1/files/usage`, { headers, agent })).status).toBe(200)
    }
  })

  test('take over what `keys` changes, each of them', async () => {
    await using server = await startServer({ env: { WORKERS } })
    await using agents = await connections(server)
    const keys = (...args: string[]) =>
      promisify(execFile)(
        process.execPath,
        [join(import.meta.dirname, '../../src/cli.ts'), 'keys', ...args],
        {
          cwd: server.dataDir,
          env: { DATA_DIR: server.dataDir },
        },
      )
    const headers = { authorization: `Bearer ${server.key()}` }
    const statuses = () =>
      Promise.all(
        [...agents.values()].map(
          async (agent) => (await call(`${server.url}/v1/files/usage`, { headers, agent })).status,
        ),
      )
    expect(await statuses()).toEqual([200, 200])
    await keys('revoke', 'first')
    await eventually(async () => (await statuses()).every((status) => status === 401))
  })

  test('count a quota together, to the byte', async () => {
    const bytes = image(0, 10_000)
    const QUOTA = `${8 * bytes.length - 1}B`
    await using server = await startServer({ env: { WORKERS, QUOTA, ...OWN_KEY } })
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, (_, i) => (i % 2 ? WAYS.form : WAYS.base64)(server.url, bytes)),
    )
    expect(outcomes.filter(({ status }) => status === 200)).toHaveLength(7)
    expect(outcomes.filter(({ status }) => status === 429)).toHaveLength(23)
    const asked = linesOf(server).filter(({ msg }) => msg === 'request')
    expect(new Set(asked.map(({ pid }) => pid)).size).toBe(2)
    expect(await server.files()).toHaveLength(7)
  })

  test('count requests together', async () => {
    await using server = await startServer({ env: { WORKERS, RATE_LIMIT: '10/1h', ...OWN_KEY } })
    await using agents = await connections(server)
    const statuses: number[] = []
    for (let i = 0; i < 10; i += 1)
      for (const agent of agents.values())
        statuses.push((await call(`${server.url}/v1/files/usage`, { agent })).status)
    expect(statuses).toEqual([...Array(10).fill(200), ...Array(10).fill(429)])
  })
})

describe('the metrics of two workers', () => {
  const METRICS_ADDRESS = '127.0.0.1:0'

  async function metricsOf(server: ServerProcess): Promise<Map<string, number>> {
    const url = String(linesOf(server).find(({ msg }) => msg === 'metrics')?.url)
    const lines = (await (await fetch(url)).text()).split('\n').filter((line) => /^[a-z]/.test(line))
    const entries = lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line] as const)
    // No sample is there twice.
    expect(new Set(entries.map(([name]) => name)).size).toBe(entries.length)
    return new Map(entries.map(([name, line]) => [name, Number(line.slice(name.length))]))
  }

  const UPLOADS = 'layover_uploads_total{route="/v1/files/uploads/base64",format="png",result="ok"}'
  const PUTS = 'layover_store_call_duration_seconds_count{operation="put",result="ok"}'

  test('are those of the machine, also when one stands still, or has ended', async () => {
    await using server = await startServer({ env: { WORKERS, METRICS_ADDRESS, ...OWN_KEY } })
    await using agents = await connections(server)
    for (const [pid, agent] of agents)
      for (let i = 0; i < 3; i += 1) await WAYS.base64(server.url, image(pid + i), agent)
    await eventually(async () => (await metricsOf(server)).get(UPLOADS) === 6)
    const metrics = await metricsOf(server)
    expect(metrics.get(PUTS)).toBe(6)
    expect(metrics.get('layover_check_ok{check="store"}')).toBe(1)
    expect(metrics.get('layover_sweep_lag_seconds')).toBeLessThan(1000)
    expect(metrics.get('process_resident_memory_bytes')).toBeGreaterThan(3 * 40_000_000)
    expect(metrics.get('process_max_fds')).toBeGreaterThan(0)

    const [pid = 0] = workersOf(server)
    process.kill(pid, 'SIGSTOP')
    expect((await metricsOf(server)).get(UPLOADS)).toBe(6)
    process.kill(pid, 'SIGKILL')
    await eventually(() => new Set(workersOf(server)).size === 3)
    const after = await metricsOf(server)
    expect(after.get(UPLOADS)).toBe(6)
    expect(after.get(PUTS)).toBe(6)
    expect(after.get('layover_requests_in_flight{kind="upload"}')).toBe(0)
    // The replacement's.
    expect(after.get('process_start_time_seconds')).toBeGreaterThan(
      metrics.get('process_start_time_seconds') ?? 0,
    )
  })

  test('come from one address; where it is taken, nothing starts', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => holder.once('listening', resolve))
    const { port } = holder.address() as import('node:net').AddressInfo
    await using folder = await tempFolder()
    const env = { WORKERS, METRICS_ADDRESS: `127.0.0.1:${port}`, DATA_DIR: folder.path }
    const { code, output } = await failToStart(env)
    expect(code).toBe(1)
    expect(output.match(/METRICS_ADDRESS: /g)).toHaveLength(1)
    holder.close()
  })
})

describe('workers that cannot start end the start, with one text', () => {
  const failing = async (folder: TempFolder, env: Record<string, string>) => {
    const { code, output } = await failToStart({ WORKERS, DATA_DIR: folder.path, ...env })
    expect(code).toBe(1)
    expect(output.match(/Layover cannot start/g)).toHaveLength(1)
    return output
  }

  test('as the configuration is wrong', async () => {
    await using folder = await tempFolder()
    expect(await failing(folder, { LIFETIME: '72' })).toMatch(/LIFETIME: /)
  })

  test('as the port is taken', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => holder.once('listening', resolve))
    const { port } = holder.address() as import('node:net').AddressInfo
    await using folder = await tempFolder()
    const output = await failing(folder, { PORT: String(port) })
    expect(output.match(/PORT: \d+ is taken/g)).toHaveLength(1)
    // It was a first start all the same.
    expect(output.match(/Your API key/g)).toHaveLength(1)
    holder.close()
  })

  test('as other workers have the port, which the system would let them share', async () => {
    await using server = await startServer({ env: { WORKERS } })
    await using folder = await tempFolder()
    expect(await failing(folder, { PORT: new URL(server.url).port })).toMatch(/PORT: \d+ is taken/)
  })

  test('as they end by themselves', async () => {
    await using folder = await tempFolder()
    const kill = 'if(process.argv[1]?.endsWith("worker.ts"))process.kill(process.pid,"SIGKILL")'
    const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(kill)}`
    expect(await failing(folder, { NODE_OPTIONS })).toMatch(/A worker has ended with SIGKILL/)
  })
})

test('of two servers that are started on one port at the same time, one is told that it is taken', async () => {
  const free = createServer().listen(0, '127.0.0.1')
  await vi.waitUntil(() => free.listening)
  const { port } = free.address() as AddressInfo
  await new Promise((resolve) => free.close(resolve))
  const env = { WORKERS: '2', HOST: '127.0.0.1', PORT: String(port) }
  const started = await Promise.allSettled([startServer({ env }), startServer({ env })])
  const [refused] = started.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []))
  for (const one of started) if (one.status === 'fulfilled') await one.value[Symbol.asyncDispose]()
  expect(started.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  expect(refused).toContain(`PORT: ${port} is taken`)
})
