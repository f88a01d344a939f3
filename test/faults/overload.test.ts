import { expect, test } from 'vitest'
import { authorization, startApp } from '../support/app.ts'
import { pngOfSize, tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { startServer } from '../support/server.ts'
import { eventually, exchange, openSocket, uploadHead } from '../support/socket.ts'

/**
 * Keeps the loop from turning for so many milliseconds of CPU time, which other processes do not
 * change.
 */
function hog(milliseconds: number): void {
  const used = () => process.threadCpuUsage().user + process.threadCpuUsage().system
  const end = used() + milliseconds * 1000
  while (used() < end) {
    // Nothing else gets to run.
  }
}

test('when the event loop is far behind, uploads beyond a few are 503 and images are served', async () => {
  await using app = await startApp({ env: { IDLE_TIMEOUT: '5m' } })
  const [form, large] = [uploadOf(tinyPng), uploadOf(pngOfSize(300_000))]
  const upload = () => exchange(app.port, uploadHead(form, authorization), form.body)
  const path = new URL(JSON.parse(String((await upload()).body)).data).pathname
  const few = await Promise.all([1, 2, 3, 4].map(() => openSocket(app.port)))
  for (const socket of few) {
    socket.write(uploadHead(large, authorization))
    socket.write(large.body.subarray(0, 200_000))
  }
  for (let turn = 0; turn < 4; turn += 1) {
    hog(2000)
    // For the timer that looks at the loop, and for what has arrived.
    await new Promise((resolve) => setTimeout(resolve, 110))
  }
  const [refused, image] = await Promise.all([upload(), fetch(app.url + path)])
  expect([refused.status, image.status]).toEqual([503, 200])
  // Where fewer are under way, one is let in however far behind the loop has been.
  for (const socket of few) socket.destroy()
  await eventually(async () => (await upload()).status === 200, 2000)
}, 90_000)

test('when the process has stood still, nobody is refused: neither a lone upload nor twenty at once', async () => {
  await using server = await startServer()
  expect((await server.upload('photo.png')).status).toBe(200)
  process.kill(server.pid, 'SIGSTOP')
  await new Promise((resolve) => setTimeout(resolve, 6000))
  process.kill(server.pid, 'SIGCONT')
  const statuses: number[] = []
  for (let lone = 0; lone < 10; lone += 1) statuses.push((await server.upload('photo.png')).status)
  const together = await Promise.all(Array.from({ length: 20 }, () => server.upload('photo.png')))
  expect([...statuses, ...together.map(({ status }) => status)]).toEqual(Array(30).fill(200))
}, 60_000)
