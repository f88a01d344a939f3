import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'
import { hasBrowser, openPage, pick, startBrowser } from '../support/browser.ts'
import { pathOfFixture } from '../support/images.ts'
import { tempFolder } from '../support/temp-folder.ts'

/** Of all that a first visit fetches, with headers, compressed. */
const MOST_BYTES = 50_000

/** Keeps what has moved, in `shifts`, and for how long the page was held up, in `blocked`. */
const WATCH = `
  globalThis.shifts = []
  new PerformanceObserver((list) => { for (const { value, sources } of list.getEntries())
    shifts.push([value, ...sources.map(({ node }) => node?.nodeName + '.' + node?.className)].join(' '))
  }).observe({ type: 'layout-shift', buffered: true })
  globalThis.blocked = []
  new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) blocked.push(duration) })
    .observe({ type: 'longtask', buffered: true })`

describe.skipIf(!hasBrowser())('the page is light', () => {
  let app: TestApp
  let browser: Browser
  beforeAll(async () => {
    app = await startApp({ env: { RATE_LIMIT: '0', QUOTA: '1GB' } })
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    await app?.[Symbol.asyncDispose]()
  })

  const shifts = (page: Page) => page.evaluate('shifts')
  test(`a first visit transfers less than ${MOST_BYTES} bytes`, async () => {
    await using opened = await openPage(browser, app, { path: '/robots.txt' })
    const { page } = opened
    const session = await page.context().newCDPSession(page)
    await session.send('Network.enable')
    let bytes = 0
    session.on('Network.loadingFinished', ({ encodedDataLength }) => {
      bytes += encodedDataLength
    })
    await page.goto(app.url, { waitUntil: 'networkidle' })
    if (process.env.SHOW_FIGURES) {
      const paint = await page.evaluate(
        `performance.getEntriesByName('first-contentful-paint')[0]?.startTime`,
      )
      console.log({ bytes, paint })
    }
    expect(bytes).toBeGreaterThan(5000)
    expect(bytes).toBeLessThan(MOST_BYTES)
  })

  test.each([390, 1440])('nothing moves while files are uploaded, at %i px', async (width) => {
    await using opened = await openPage(browser, app, { viewport: { width, height: 900 } })
    const { page } = opened
    await page.evaluate(WATCH)
    await pick(page, ['photo.jpg', 'photo.png', 'photo.webp'].map(pathOfFixture))
    await expect.poll(() => page.getByRole('button', { name: 'Copy URL' }).count()).toBe(3)
    await expect.poll(() => page.locator('.thumb img[src]').count()).toBe(3)
    await expect.poll(() => page.getByText('of 1 GB used').isVisible()).toBe(true)
    expect(await shifts(page)).toEqual([])
  })

  test('fifty files are uploaded at once, and the page answers meanwhile', async () => {
    await using folder = await tempFolder()
    const paths = Array.from({ length: 50 }, (_, index) => join(folder.path, `photo ${index}.jpg`))
    for (const path of paths) await copyFile(pathOfFixture('photo.jpg'), path)
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.evaluate(WATCH)
    const began = performance.now()
    await pick(page, paths)
    // A click in the midst of it does what it should.
    await page
      .getByRole('button', { name: /^Cancel/ })
      .last()
      .click()
    await expect
      .poll(() => page.getByRole('button', { name: 'Copy URL' }).count(), { timeout: 25_000 })
      .toBe(49)
    if (process.env.SHOW_FIGURES) {
      const blocked = (await page.evaluate('blocked')) as number[]
      console.log({
        milliseconds: performance.now() - began,
        tasksOver50ms: blocked,
        shifts: await shifts(page),
      })
    }
    expect(await shifts(page)).toEqual([])
  })
})
