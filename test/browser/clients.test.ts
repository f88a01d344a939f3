import { readFile } from 'node:fs/promises'
import axe from 'axe-core'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, startApp, type TestApp } from '../support/app.ts'
import { hasBrowser, openPage, startBrowser } from '../support/browser.ts'

describe.skipIf(!hasBrowser())('the page of clients', () => {
  let app: TestApp
  let browser: Browser
  beforeAll(async () => {
    app = await startApp()
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    await app?.[Symbol.asyncDispose]()
  })

  const path = '/clients'

  test('puts the key that the tab has into what is shown, copied and saved, and sends it nowhere', async () => {
    await using opened = await openPage(browser, app, { path })
    const { page } = opened
    const sent: string[] = []
    page.on('request', (request) => sent.push(`${request.url()} ${JSON.stringify(request.headers())}`))
    const shown = page.locator('#sharex .text')
    expect(JSON.parse((await shown.textContent()) ?? '').Headers).toEqual({
      Authorization: `Bearer ${apiKey}`,
    })
    const sections = await page.locator('main section').allTextContents()
    expect(sections.filter((text) => text.includes('YOUR_KEY'))).toEqual([])

    await page.getByRole('button', { name: 'Copy layover.sxcu' }).click()
    await expect.poll(() => page.locator('#said').textContent()).toBe('Copied')
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(await shown.textContent())

    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Download layover.sxcu' }).click(),
    ])
    expect(download.suggestedFilename()).toBe('layover.sxcu')
    expect(await readFile(await download.path(), 'utf8')).toBe(await shown.textContent())
    expect(sent.filter((request) => request.includes(apiKey))).toEqual([])
  })

  test('takes a key that is typed, and says why it does not take one that would break the files', async () => {
    await using opened = await openPage(browser, app, { path, key: '' })
    const { page } = opened
    const shown = page.locator('#upic .text')
    expect(await shown.textContent()).toContain('Bearer YOUR_KEY')
    await page.getByLabel('API key').fill('sk-layover-typed')
    expect(await shown.textContent()).toContain('Bearer sk-layover-typed')
    await page.getByLabel('API key').fill('has"quotes')
    expect(await shown.textContent()).toContain('Bearer YOUR_KEY')
    expect(await page.getByRole('alert').textContent()).toContain('put it in by hand')
  })

  test('shows no key any more when the browser goes back to it after the key was forgotten', async () => {
    await using opened = await openPage(browser, app, { path })
    const { page } = opened
    await page.evaluate(`sessionStorage.removeItem('layover.key')
      dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))`)
    expect(await page.getByLabel('API key').inputValue()).toBe('')
    expect(await page.locator('main').textContent()).not.toContain(apiKey)
  })

  test.each(['light', 'dark'] as const)(
    'axe finds nothing in it, %s, and it fits a phone',
    async (colorScheme) => {
      const viewport = { width: 390, height: 800 }
      await using opened = await openPage(browser, app, { path, viewport, colorScheme })
      await opened.page.evaluate(`${axe.source}; undefined`)
      const { violations } = (await opened.page.evaluate('axe.run()')) as axe.AxeResults
      expect(violations.map(({ id, nodes }) => ({ id, at: nodes.map(({ target }) => target) }))).toEqual([])
      expect(
        await opened.page.evaluate('document.documentElement.scrollWidth - innerWidth'),
      ).toBeLessThanOrEqual(0)
      if (process.env.SHOTS) await opened.page.screenshot({ path: `${process.env.SHOTS}/${colorScheme}.png` })
    },
  )
})
