import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, test, vi } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'
import { openSocket, requestHead } from '../support/socket.ts'

const kept = requestHead('GET /healthz', { Connection: 'keep-alive' })

/**
 * Makes the connections that come next look as if they came from this address: tests have none but
 * loopback's.
 */
function pretendFrom(app: TestApp, address: string): void {
  app.server.prependListener('connection', (socket: Socket) => {
    if (!Object.hasOwn(socket, 'remoteAddress'))
      Object.defineProperty(socket, 'remoteAddress', { value: address })
  })
}

/**
 * Opens a connection. Resolves with it once it has been answered, or with undefined if it was
 * closed instead.
 */
async function open(app: Pick<TestApp, 'port'>): Promise<Socket | undefined> {
  const socket = await openSocket(app.port)
  socket.write(kept)
  const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')])
  return Buffer.isBuffer(answer) ? socket : undefined
}

async function openMany(app: TestApp, count: number): Promise<(Socket | undefined)[]> {
  const sockets: (Socket | undefined)[] = []
  for (let opened = 0; opened < count; opened += 1) sockets.push(await open(app))
  return sockets
}

const countOpen = (sockets: (Socket | undefined)[]) => sockets.filter((socket) => socket !== undefined).length

test('an address has no more connections than MAX_CONNECTIONS_PER_ADDRESS, and others have theirs', async () => {
  await using app = await startApp({ env: { MAX_CONNECTIONS_PER_ADDRESS: '3' } })
  pretendFrom(app, '203.0.113.7')
  const sockets = await openMany(app, 5)
  expect(countOpen(sockets)).toBe(3)
  pretendFrom(app, '203.0.113.8')
  expect(await open(app)).toBeDefined()
  // As soon as one has gone, the next may come.
  pretendFrom(app, '203.0.113.7')
  sockets[0]?.destroy()
  await vi.waitFor(async () => expect(await open(app)).toBeDefined())
})

test('of IPv6, a /64 counts as one address', async () => {
  await using app = await startApp({ env: { MAX_CONNECTIONS_PER_ADDRESS: '2' } })
  const opened: boolean[] = []
  for (const address of ['2001:db8:1:2::1', '2001:db8:1:2:ffff::2', '2001:db8:1:2::3', '2001:db8:1:3::1']) {
    pretendFrom(app, address)
    opened.push((await open(app)) !== undefined)
  }
  expect(opened).toEqual([true, true, false, true])
})

test('this machine and the proxies of TRUST_PROXY speak for many, and are not limited', async () => {
  const env = { MAX_CONNECTIONS_PER_ADDRESS: '1', TRUST_PROXY: '203.0.113.0/24, 2001:db8::5, uniquelocal' }
  await using app = await startApp({ env })
  expect(countOpen(await openMany(app, 3))).toBe(3)
  for (const address of ['203.0.113.9', '::ffff:203.0.113.9', '2001:db8::5', '192.168.1.1', 'fd00::1']) {
    pretendFrom(app, address)
    expect(countOpen(await openMany(app, 3)), address).toBe(3)
  }
  pretendFrom(app, 'fe80::1%eth0')
  expect(countOpen(await openMany(app, 3))).toBe(1)
})

test('there are no more than MAX_CONNECTIONS, also from this machine', async () => {
  await using app = await startApp({ env: { MAX_CONNECTIONS: '4' } })
  expect(countOpen(await openMany(app, 6))).toBe(4)
})

test('at MAX_CONNECTIONS, idle connections make room, the oldest first', async () => {
  await using app = await startApp({ env: { MAX_CONNECTIONS: '40', MAX_CONNECTIONS_PER_ADDRESS: '0' } })
  pretendFrom(app, '203.0.113.7')
  const sockets = await openMany(app, 60)
  expect(countOpen(sockets)).toBe(60)
  expect(sockets[0]?.closed).toBe(true)
  expect(sockets.at(-1)?.closed).toBe(false)
})

test('connections that have sent nothing make room, too', async () => {
  await using app = await startApp({ env: { MAX_CONNECTIONS: '40', MAX_CONNECTIONS_PER_ADDRESS: '0' } })
  pretendFrom(app, '203.0.113.7')
  const silent: Socket[] = []
  for (let opened = 0; opened < 60; opened += 1) silent.push(await openSocket(app.port))
  expect(await open(app)).toBeDefined()
  await vi.waitFor(() => expect(silent.filter(({ closed }) => closed).length).toBeGreaterThanOrEqual(21))
  expect(silent.at(-1)?.closed).toBe(false)
})

test('connections that another listener hands over count, and those beyond the limit are closed', async () => {
  await using app = await startApp({ env: { MAX_CONNECTIONS: '4' } })
  const other = createServer((socket) => app.server.emit('connection', socket)).listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const sockets: (Socket | undefined)[] = []
  for (let opened = 0; opened < 6; opened += 1) sockets.push(await open({ port }))
  expect(countOpen(sockets)).toBe(4)
  other.close()
})

test('refusals are logged with the setting, but not each of them', async () => {
  const lines: { msg: string; refused: number; network?: string }[] = []
  let now = Date.now()
  await using app = await startApp({
    env: { MAX_CONNECTIONS: '4', MAX_CONNECTIONS_PER_ADDRESS: '2' },
    onLog: (line) => line.includes('"refused"') && lines.push(JSON.parse(line)),
    now: () => now,
  })
  pretendFrom(app, '203.0.113.7')
  await openMany(app, 5)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatchObject({ level: 40, refused: 1, network: '203.0.113.0/24' })
  expect(lines[0]?.msg).toContain('MAX_CONNECTIONS_PER_ADDRESS')
  now += 60_000
  await open(app)
  expect(lines.map(({ refused }) => refused)).toEqual([1, 3])
})

test('a connection on which nothing is ever sent is closed when its headers are due', async () => {
  // UPLOAD_TIMEOUT is the bound here, else ten seconds; IDLE_TIMEOUT is not.
  await using app = await startApp({ env: { UPLOAD_TIMEOUT: '1s', IDLE_TIMEOUT: '60s' } })
  const socket = await openSocket(app.port)
  socket.resume()
  await vi.waitFor(() => expect(socket.closed).toBe(true), 10_000)
})
