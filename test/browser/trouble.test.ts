import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, authorization, startApp, type TestApp } from '../support/app.ts'
import { cardOf, hasBrowser, openPage, pick, startBrowser, throttle } from '../support/browser.ts'
import { fixture, pathOfFixture, tinyPng } from '../support/images.ts'
import { eventually } from '../support/socket.ts'

const LIMIT = 1024 ** 2

describe.skipIf(!hasBrowser())('when something goes wrong, the page', () => {
  let app: TestApp
  let browser: Browser
  beforeAll(async () => {
    app = await startApp({ env: { RATE_LIMIT: '0', MAX_FILE_SIZE: '1MB' } })
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    await app?.[Symbol.asyncDispose]()
  })

  const fault = (page: Page, name: string) => cardOf(page, name).locator('.fault').textContent()
  const photo = (name: string, size = 0) => ({
    name,
    mimeType: 'image/jpeg',
    buffer: Buffer.concat([fixture('photo.jpg'), Buffer.alloc(size)]),
  })
  const images = async () => {
    const answer = await fetch(`${app.url}/v1/files/uploads?limit=100`, { headers: { authorization } })
    return ((await answer.json()) as { data: object[] }).data.length
  }

  test('says that a key is wrong, and takes the right one, for the tab alone or for longer', async () => {
    await using opened = await openPage(browser, app, { key: '' })
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByText('Waiting for your key').waitFor()
    const field = page.getByLabel('API key')
    await field.fill('wrong-key-of-24-characters')
    await page.getByRole('button', { name: 'Use this key' }).click()
    await page.getByText('This key is not known here.').waitFor()
    expect(await page.evaluate('localStorage.length + sessionStorage.length')).toBe(1)
    await field.fill(apiKey)
    await page.keyboard.press('Enter')
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
    expect(await field.isVisible()).toBe(false)
    expect(
      await page.evaluate(`[sessionStorage.getItem('layover.key'), localStorage.getItem('layover.key')]`),
    ).toEqual([apiKey, null])
    await page.getByRole('button', { name: 'Forget key' }).click()
    await field.fill(apiKey)
    await page.getByLabel('Keep it on this device').check()
    await page.getByRole('button', { name: 'Use this key' }).click()
    await page.getByText('Key kept on this device.').waitFor()
    expect(
      await page.evaluate(`[sessionStorage.getItem('layover.key'), localStorage.getItem('layover.key')]`),
    ).toEqual([null, apiKey])
  })

  test('asks for another key when the one it has is not taken any more, and then goes on', async () => {
    await using opened = await openPage(browser, app, { key: 'old-key-of-24-characters' })
    const { page } = opened
    await pick(
      page,
      [1, 2, 3, 4, 5].map((count) => photo(`${count}.jpg`)),
    )
    await page.getByText('This key is not known here.').waitFor()
    await page.getByLabel('API key').fill(apiKey)
    await page.keyboard.press('Enter')
    await expect.poll(() => page.getByRole('button', { name: 'Copy URL' }).count()).toBe(5)
  })

  test('shows the API’s sentence for a file that is too large', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    const sentence = `The file is too large: at most ${LIMIT} bytes are taken.`
    await pick(page, photo('large.jpg', 2 * LIMIT))
    await expect.poll(() => fault(page, 'large.jpg')).toBe(sentence)
    // So large that the server stops reading before all of it has come.
    await throttle(page, 1_000_000)
    await pick(page, photo('huge.jpg', 5 * LIMIT))
    await expect.poll(() => fault(page, 'huge.jpg'), { timeout: 20_000 }).toBe(sentence)
  })

  test('shows the API’s sentence for what is no image', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await pick(page, {
      name: '<img src=x onerror=alert(1)>.png',
      mimeType: 'image/png',
      buffer: Buffer.from('text'),
    })
    await expect
      .poll(() => fault(page, '<img src=x onerror=alert(1)>.png'))
      .toBe('The bytes are not a JPEG, PNG, GIF or WebP image. The name and the declared type do not count.')
    await cardOf(page, '<img src=x onerror=alert(1)>.png').getByRole('button', { name: 'Remove' }).click()
    expect(await page.getByRole('listitem').count()).toBe(0)
  })

  test('says that it is offline, and retries', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.context().setOffline(true)
    await pick(page, pathOfFixture('photo.jpg'))
    await expect.poll(() => fault(page, 'photo.jpg')).toContain('You are offline.')
    await page.context().setOffline(false)
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Retry' }).click()
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
  })

  test('says that the connection broke, and retries', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await throttle(page, 100_000)
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg')
      .getByText(/^[1-9]\d? % of/)
      .waitFor()
    // The browser itself tries once more.
    await eventually(async () => {
      app.server.closeAllConnections()
      return (await cardOf(page, 'photo.jpg').locator('.fault').count()) > 0
    })
    expect(await fault(page, 'photo.jpg')).toContain('The connection broke')
    await throttle(page, -1)
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Retry' }).click()
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
  })

  test('leaves nothing of an upload that is cancelled', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    const before = { files: await app.files(), images: await images() }
    await throttle(page, 100_000)
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg')
      .getByText(/^[1-9]\d? % of/)
      .waitFor()
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Cancel' }).click()
    await cardOf(page, 'photo.jpg').getByText('Cancelled').waitFor()
    await eventually(async () => (await app.files()).length === before.files.length)
    expect({ files: await app.files(), images: await images() }).toEqual(before)
  })

  test('leaves nothing of an upload that is cancelled when all of it has left, and before the answer', async () => {
    const { promise: mayStore, resolve: store } = Promise.withResolvers<void>()
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
    await using slow = await startApp({
      wrap: (inner) => ({
        ...inner,
        put: async (...given: Parameters<typeof inner.put>) => {
          arrive()
          await mayStore
          return inner.put(...given)
        },
      }),
    })
    await using opened = await openPage(browser, slow)
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    await arrived
    // The server may know that all has left before the browser has said so to the page.
    await cardOf(page, 'photo.jpg').getByText('Checking').waitFor()
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Cancel' }).click()
    const deleted = page.waitForResponse((answer) => answer.request().method() === 'DELETE')
    store()
    expect((await deleted).status()).toBe(200)
    expect(await slow.files()).toEqual([])
    expect(await cardOf(page, 'photo.jpg').getByText('Cancelled').isVisible()).toBe(true)
  })

  test('does not say that an image is deleted when the key cannot delete it', async () => {
    await using keyed = await startApp({
      env: { API_KEYS: `first:${apiKey},second:second-key-of-24-characters` },
    })
    await using opened = await openPage(browser, keyed)
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    const card = cardOf(page, 'photo.jpg')
    await card.getByRole('button', { name: 'Copy URL' }).waitFor()
    await page.getByRole('button', { name: 'Forget key' }).click()
    await page.getByLabel('API key').fill('second-key-of-24-characters')
    await page.keyboard.press('Enter')
    await card.getByRole('button', { name: 'Delete photo.jpg' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await card.getByText('Nothing was deleted').waitFor()
    expect(await page.locator('#status').textContent()).toContain('Nothing was deleted')
    expect(await keyed.files()).toHaveLength(1)
    await card.getByRole('button', { name: 'Copy URL' }).waitFor()
    await card.getByRole('button', { name: 'Remove photo.jpg from the list' }).click()
    await expect.poll(() => card.count()).toBe(0)
  })

  test('takes no answer for an image that is none', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.route('**/v1/files/uploads', (route) => route.fulfill({ json: { success: true } }))
    await pick(page, pathOfFixture('photo.jpg'))
    await expect.poll(() => fault(page, 'photo.jpg')).toContain('What answered is not Layover')
  })

  test('asks before it is left while images still wait for a key', async () => {
    await using opened = await openPage(browser, app, { key: '' })
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByText('Waiting for your key').waitFor()
    const asked = page.waitForEvent('dialog', { timeout: 5000 })
    await page.close({ runBeforeUnload: true })
    const dialog = await asked
    expect(dialog.type()).toBe('beforeunload')
    await dialog.dismiss()
  })

  test('goes on with other uploads when some were cancelled that get no answer', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.clock.install()
    await page.reload()
    const held: string[] = []
    await page.route('**/v1/files/uploads', (route) => {
      if (held.length === 3) return route.continue()
      held.push(route.request().method())
    })
    await pick(
      page,
      ['1', '2', '3', '4'].map((name) => ({ name: `${name}.png`, mimeType: '', buffer: tinyPng })),
    )
    await expect.poll(() => held.length).toBe(3)
    for (const name of ['1.png', '2.png', '3.png'])
      await cardOf(page, name).getByRole('button', { name: 'Cancel' }).click()
    await page.clock.fastForward(60_000)
    await cardOf(page, '4.png').getByRole('button', { name: 'Copy URL' }).waitFor({ timeout: 10_000 })
  })

  test('waits when there were too many requests, says so, and goes on by itself', async () => {
    await using strict = await startApp({ env: { RATE_LIMIT: '4/2s' } })
    await using opened = await openPage(browser, strict)
    const { page } = opened
    await pick(
      page,
      [1, 2, 3, 4, 5, 6].map((count) => ({ name: `${count}.png`, mimeType: '', buffer: tinyPng })),
    )
    await page
      .getByText(/Too many requests: 4 in 2 seconds are taken\..* Next try in \d s\./)
      .first()
      .waitFor()
    await expect
      .poll(() => page.getByRole('button', { name: 'Copy URL' }).count(), { timeout: 20_000 })
      .toBe(6)
  })

  test('says what stands in the way of a quota that is used up, and shows the bar', async () => {
    await using small = await startApp({ env: { QUOTA: '300KB' } })
    await using opened = await openPage(browser, small)
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
    await expect.poll(() => page.getByText(/^[\d.]+ KB of 300 KB used$/).isVisible()).toBe(true)
    await pick(page, { ...photo('second.jpg') })
    await expect.poll(() => fault(page, 'second.jpg')).toContain('The quota of this key is 307200 bytes')
  })
})
