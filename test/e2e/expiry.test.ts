import { expect, test } from 'vitest'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'

async function upload(server: ServerProcess): Promise<string> {
  const response = await server.upload('photo.jpg')
  return ((await response.json()) as { data: string }).data
}

async function status(url: string): Promise<number> {
  return (await fetch(url)).status
}

test('with LIFETIME=2s a URL is 200, then 410 with the sweeper off, and a later sweep removes the file', async () => {
  const first = await startServer({ env: { LIFETIME: '2s', SWEEP_INTERVAL: '0' } })
  const url = await upload(first)
  expect(await status(url)).toBe(200)
  await eventually(async () => (await status(url)) === 410)
  expect((await (await fetch(url)).json()) as object).toMatchObject({ error: { code: 'image_expired' } })
  expect(await first.files()).toHaveLength(1)
  await first.stop('SIGTERM')

  await using second = await startServer({ dataDir: first.dataDir, env: { SWEEP_INTERVAL: '1s' } })
  await eventually(async () => (await second.files()).length === 0)
  await eventually(() =>
    /"deleted":1,"bytes":237223,"failed":0,"leftovers":0,"tempFiles":0,"ms":\d+,"msg":"sweep"/.test(
      second.output(),
    ),
  )
  expect(await status(second.url + new URL(url).pathname)).toBe(410)
})

test('a running server sweeps what expires, and leaves what lives and what is not its own', async () => {
  await using server = await startServer({
    env: { LIFETIME: '1s', MAX_LIFETIME: '1h', SWEEP_INTERVAL: '1s' },
  })
  await upload(server)
  await server.upload('photo.gif', { fields: { expires_in: '3600' } })
  expect(await server.files()).toHaveLength(2)
  await eventually(async () => (await server.files()).length === 1)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  expect(await server.files()).toEqual([expect.stringMatching(/\.gif$/)])
})
