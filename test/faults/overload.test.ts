import { expect, test } from 'vitest'
import { authorization, startApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { eventually, exchange, uploadHead } from '../support/socket.ts'

test('while the event loop is far behind, uploads are 503 and images are served', async () => {
  await using app = await startApp()
  const form = uploadOf(tinyPng)
  const upload = () => exchange(app.port, uploadHead(form, authorization), form.body)
  const path = new URL(JSON.parse(String((await upload()).body)).data).pathname
  let isHogging = true
  const hog = () => {
    const end = performance.now() + 1200
    while (performance.now() < end) {
      // Nothing else gets to run.
    }
    if (isHogging) setImmediate(hog)
  }
  hog()
  // Each step of an answer takes another second now.
  await eventually(async () => {
    const [refused, image] = await Promise.all([upload(), fetch(app.url + path)])
    expect(image.status).toBe(200)
    return refused.status === 503
  }, 60_000)
  isHogging = false
  await eventually(async () => (await upload()).status === 200)
}, 90_000)
