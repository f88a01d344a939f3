import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, startApp, type TestApp } from '../support/app.ts'
import { asPicList, asShareX, asUPic, type Outcome, withFunctions } from '../support/client-rules.ts'
import { expectPhotoAt, servedFile } from '../support/served-clients.ts'

/** Programs for Windows and macOS do not run here: their configurations are read by the rules of the programs. */

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const programs: [string, string, (file: string) => Promise<Outcome>][] = [
  ['ShareX', 'sharex/layover.sxcu', asShareX],
  ['PicList', 'piclist/config.json', asPicList],
  ['uPic', 'upic/layover-upic.json', asUPic],
]

describe.each(programs)('%s, by its rules', (_name, path, use) => {
  test('uploads an image and gets its URL', async () => {
    const { url = '' } = await use(await servedFile(app.url, path, apiKey))
    await expectPhotoAt(url)
  })

  test('shows that a key is wrong', async () => {
    const outcome = await use(await servedFile(app.url, path, 'wrong'))
    expect(outcome.url).toBeUndefined()
    expect(outcome.error).toMatch(/^This key is not known here\.|^status 401$/)
  })
})

test('ShareX gets a link that asks in a browser, and deletes', async () => {
  const outcome = await asShareX(await servedFile(app.url, 'sharex/layover.sxcu', apiKey))
  const { url = '', deletionUrl = '' } = outcome
  const page = await fetch(deletionUrl, { headers: { accept: 'text/html' } })
  expect(await page.text()).toContain('Delete this image?')
  await expectPhotoAt(url)
  expect((await fetch(deletionUrl, { method: 'POST' })).status).toBe(200)
  expect((await fetch(url)).status).toBe(404)
})

test('an address with braces gets through ShareX’s syntax', async () => {
  const publicUrl = 'https://images.example.com/a%7B|b'
  await using odd = await startApp({ env: { PUBLIC_URL: publicUrl } })
  const { RequestURL } = JSON.parse(await servedFile(odd.url, 'sharex/layover.sxcu', apiKey))
  expect(withFunctions(RequestURL, () => '')).toBe(`${publicUrl}/api/upload`)
})
