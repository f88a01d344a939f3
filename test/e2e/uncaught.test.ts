import { expect, test } from 'vitest'
import { startServer } from '../support/server.ts'

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
