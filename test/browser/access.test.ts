import axe from 'axe-core'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, startApp, type TestApp } from '../support/app.ts'
import { cardOf, hasBrowser, openPage, pick, startBrowser, throttle } from '../support/browser.ts'
import { pathOfFixture } from '../support/images.ts'

const OLD = {
  id: 'file_old',
  url: 'http://localhost/uploads/2020/01/old.jpg',
  name: 'an image of long ago.jpg',
  size: 5,
  expires_at: '2020-01-04T00:00:00.000Z',
}

describe.skipIf(!hasBrowser())('everybody can use the page', () => {
  let app: TestApp
  let browser: Browser
  beforeAll(async () => {
    app = await startApp({ env: { RATE_LIMIT: '0', QUOTA: '10MB' } })
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    await app?.[Symbol.asyncDispose]()
  })

  /** What axe finds, with best practices, and what it can only suspect. */
  async function violations(page: Page) {
    // The page itself may evaluate nothing; this comes from the outside.
    await page.evaluate(`${axe.source}; undefined`)
    const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults
    return violations.map(({ id, nodes }) => ({ id, where: nodes.map(({ html }) => html) }))
  }

  const looks = [390, 768, 1440].flatMap((width) =>
    (['light', 'dark'] as const).map((colorScheme) => ({ width, colorScheme })),
  )
  test.each(looks)(
    'axe finds nothing at $width px, $colorScheme, in any state',
    async ({ width, colorScheme }) => {
      const look = { viewport: { width, height: 900 }, colorScheme, hasTouch: width < 768 }
      {
        await using opened = await openPage(browser, app, { ...look, key: '' })
        const { page } = opened
        expect(await violations(page)).toEqual([])
        await page.getByLabel('API key').fill('wrong-key-of-24-characters')
        await page.keyboard.press('Enter')
        await page.getByText('This key is not known here.').waitFor()
        expect(await violations(page)).toEqual([])
      }
      await using opened = await openPage(browser, app, { ...look, history: [OLD] })
      const { page } = opened
      await pick(page, pathOfFixture('photo.jpg'))
      await pick(page, { name: 'text.txt', mimeType: 'text/plain', buffer: Buffer.from('text') })
      await cardOf(page, 'text.txt').locator('.fault').waitFor()
      await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
      await throttle(page, 50_000)
      await pick(page, pathOfFixture('photo.png'))
      await page.getByRole('progressbar').waitFor()
      expect(await violations(page)).toEqual([])
      await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Delete' }).click()
      await page.getByRole('dialog').waitFor()
      expect(await violations(page)).toEqual([])
      await page.keyboard.press('Escape')
      // Nothing is wider than the window.
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
    },
  )

  test('a keyboard is enough for all of it, and the focus is never lost', async () => {
    await using opened = await openPage(browser, app, { key: '' })
    const { page } = opened
    const focus = () =>
      page.evaluate(`document.activeElement.ariaLabel ?? document.activeElement.textContent`)
    const tabTo = async (name: string) => {
      for (let steps = 0; steps < 30 && (await focus()) !== name; steps++) await page.keyboard.press('Tab')
      expect(await focus()).toBe(name)
    }
    await page.getByLabel('API key').focus()
    await page.keyboard.type(apiKey)
    await page.keyboard.press('Enter')
    await expect.poll(focus).toBe('Choose images')
    await throttle(page, 100_000)
    const chooser = page.waitForEvent('filechooser')
    await page.keyboard.press('Enter')
    await (await chooser).setFiles(pathOfFixture('photo.jpg'))
    await tabTo('Cancel the upload of photo.jpg')
    await page.keyboard.press('Enter')
    await expect.poll(focus).toBe('Retry photo.jpg')
    await throttle(page, -1)
    await page.keyboard.press('Enter')
    await expect.poll(focus).toBe('Copy URL of photo.jpg')
    await page.keyboard.press('Space')
    await expect.poll(() => page.locator('#status').textContent()).toBe('Copied: URL')
    await page.getByRole('button', { name: 'Delete photo.jpg' }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor()
    expect(await focus()).toBe('Keep')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await expect.poll(focus).toBe('Choose images')
  })

  test('it speaks Chinese to a browser that does, and English to all others', async () => {
    {
      await using opened = await openPage(browser, app, { locale: 'zh-CN', key: '' })
      const { page } = opened
      expect(await page.evaluate('document.documentElement.lang')).toBe('zh-CN')
      expect(await violations(page)).toEqual([])
      await page.getByLabel('API 密钥').fill(apiKey)
      await page.keyboard.press('Enter')
      await pick(page, pathOfFixture('photo.jpg'))
      await cardOf(page, 'photo.jpg').getByRole('button', { name: '复制 URL：photo.jpg' }).waitFor()
      expect(await cardOf(page, 'photo.jpg').locator('time').textContent()).toMatch(/^剩余 [23] 天 \d+ 小时$/)
      const text = (await page.locator('main').innerText()).replaceAll('photo.jpg', '')
      const words = new Set(text.match(/[a-z]{2,}/gi))
      for (const word of [
        'API',
        'JPEG',
        'PNG',
        'GIF',
        'WebP',
        'URL',
        'Markdown',
        'HTML',
        'curl',
        'OpenAI',
        'KB',
        'MB',
      ])
        words.delete(word)
      expect([...words].filter((word) => !(text.match(/http\S+/)?.[0] ?? '').includes(word))).toEqual([])
    }
    await using opened = await openPage(browser, app, { locale: 'fr-FR' })
    expect(await opened.page.evaluate('document.documentElement.lang')).toBe('en')
  })

  test('a phone can take a photo', async () => {
    await using opened = await openPage(browser, app, {
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      isMobile: true,
    })
    const { page } = opened
    const chooser = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Take a photo' }).tap()
    await (await chooser).setFiles(pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
  })
})
