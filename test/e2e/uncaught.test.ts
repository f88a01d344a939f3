import { expect, test } from 'vitest'
import { startServer } from '../support/server.ts'
import { openSocket } from '../support/socket.ts'

/** Makes a process fail in a way that nobody catches, when it gets a signal. */
const failing = (how: string) =>
  `--import=data:text/javascript,${encodeURIComponent(`process.on('SIGWINCH', () => { ${how} })`)}`

test.each([
  { what: 'an error that nobody catches', how: `throw new Error('nobody caught this')` },
  { what: 'a promise that nobody minds', how: `Promise.reject(new Error('nobody caught this'))` },
])('$what is logged and ends the server, not with 0', async ({ how }) => {
  await using server = await startServer({ env: { NODE_OPTIONS: failing(how) } })
  expect((await server.upload('photo.png')).status).toBe(200)
  const { code, signal } = await server.stop('SIGWINCH')
  expect({ code, signal }).toEqual({ code: 1, signal: null })
  expect(server.output()).toMatch(/"level":60,.*nobody caught this.*"msg":"stopping after an error"/)
  expect(server.output()).toContain('"msg":"stopped"')
})

test('a client that asks for a tunnel, and for anything else, and resets the connection at once ends nothing', async () => {
  await using server = await startServer()
  const { port } = new URL(server.url)
  const requests = [
    'CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    'nonsense\r\n\r\n',
    `POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n`,
  ]
  for (let round = 0; round < 20; round += 1)
    for (const request of requests) {
      const socket = await openSocket(Number(port))
      socket.write(request)
      // Now at once, and now when the answer is being written.
      if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
      socket.resetAndDestroy()
    }
  expect((await server.upload('photo.png')).status).toBe(200)
  expect(server.output()).not.toContain('"level":60')
})
