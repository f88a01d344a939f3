import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { cardOf, hasBrowser, openPage, pick, startBrowser, throttle } from '../support/browser.ts'
import { fixture, pathOfFixture, sha256, tinyPng } from '../support/images.ts'

describe.skipIf(!hasBrowser())('the page', () => {
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

  const isCopyOf = async (url: string | null, file: string) => {
    // The test's server is known under another name than it listens on.
    const answer = await fetch(app.url + new URL(url ?? '').pathname)
    return sha256(Buffer.from(await answer.arrayBuffer())) === sha256(fixture(file))
  }
  const linkOf = (page: Parameters<typeof cardOf>[0], name: string) =>
    cardOf(page, name).getByRole('link', { name }).getAttribute('href')

  test('uploads what is picked, several at once, with a thumbnail and the time that is left', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await pick(page, ['photo.jpg', 'photo.png', 'photo.webp', 'animated.gif'].map(pathOfFixture))
    for (const name of ['photo.jpg', 'photo.png', 'photo.webp', 'animated.gif']) {
      const card = cardOf(page, name)
      await card.getByRole('button', { name: `Copy URL of ${name}` }).waitFor()
      expect(await isCopyOf(await linkOf(page, name), name)).toBe(true)
      await expect.poll(() => card.locator('img').getAttribute('src')).toMatch(/^data:image\/webp;base64,/)
      expect(await card.locator('time').textContent()).toMatch(/^(2 d 23 h|3 d 0 h) left$/)
    }
    await expect.poll(() => page.locator('#status').textContent()).toBe('4 images are uploaded.')
    await expect.poll(() => page.getByText('of 1 GB used').isVisible()).toBe(true)
  })

  test('says how many models’ APIs take an image, and which do not, also after a reload', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await pick(page, ['photo.jpg', 'animated.gif'].map(pathOfFixture))
    const badgeOf = (name: string) => cardOf(page, name).getByRole('img', { name: /aken by/ })
    for (const visit of ['first', 'second']) {
      if (visit === 'second') await page.reload()
      await badgeOf('animated.gif').waitFor()
      expect(await badgeOf('animated.gif').getAttribute('title')).toMatch(/^Not taken by: .*openai.*kling/)
      expect(await badgeOf('animated.gif').textContent()).toMatch(/^\d+\/\d+ models$/)
    }
  })

  test('uploads what is dropped on it', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    const session = await page.context().newCDPSession(page)
    const data = { items: [], files: [pathOfFixture('photo.jpg')], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver'] as const)
      await session.send('Input.dispatchDragEvent', { type, x: 300, y: 300, data })
    await expect.poll(() => page.locator('#drop.is-over').count()).toBe(1)
    await session.send('Input.dispatchDragEvent', { type: 'drop', x: 300, y: 300, data })
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
    expect(await isCopyOf(await linkOf(page, 'photo.jpg'), 'photo.jpg')).toBe(true)
    expect(await page.locator('#drop.is-over').count()).toBe(0)
  })

  test('uploads what is pasted', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.evaluate(`(async () => {
      const bytes = Uint8Array.from(atob('${tinyPng.toString('base64')}'), (c) => c.charCodeAt(0))
      await navigator.clipboard.write([new ClipboardItem({ 'image/png': new Blob([bytes], { type: 'image/png' }) })])
    })()`)
    await page.keyboard.press('Control+V')
    await cardOf(page, 'image.png').getByRole('button', { name: 'Copy URL' }).waitFor()
  })

  test('shows how far each upload is, as its bytes leave', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await throttle(page, 150_000)
    await pick(page, pathOfFixture('photo.png'))
    const bar = page.getByRole('progressbar', { name: 'Upload of photo.png' })
    await bar.waitFor()
    const seen = new Set<number>()
    while ((await bar.count()) > 0) {
      const value = await bar.getAttribute('value', { timeout: 1000 }).catch(() => 1)
      seen.add(Number(value))
    }
    await cardOf(page, 'photo.png').getByRole('button', { name: 'Copy URL' }).waitFor()
    expect([...seen].filter((value) => value > 0.05 && value < 0.95).length).toBeGreaterThan(2)
    expect([...seen]).toEqual([...seen].sort((one, other) => one - other))
  })

  test('copies URL, Markdown, HTML, curl and what OpenAI takes by one click each', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    const name = 'a <b>_"photo".png'
    await pick(page, { name, mimeType: 'image/png', buffer: tinyPng })
    const card = cardOf(page, name)
    const copied = async (what: string) => {
      await card.getByRole('button', { name: `Copy ${what} of` }).click()
      await expect.poll(() => page.locator('#status').textContent()).toBe(`Copied: ${what}`)
      return page.evaluate('navigator.clipboard.readText()')
    }
    const url = await copied('URL')
    expect(url).toBe(await linkOf(page, name))
    expect(await copied('Markdown')).toBe(`![a \\<b\\>\\_"photo"](${url})`)
    expect(await copied('HTML')).toBe(
      `<img src="${url}" alt="a &#60;b&#62;_&#34;photo&#34;" width="1" height="1">`,
    )
    expect(await copied('curl')).toBe(`curl -fO '${url}'`)
    expect(await copied('OpenAI')).toContain(`{"type": "image_url", "image_url": {"url": "${url}"}}`)
  })

  test('copies where the browser has no clipboard for the page, as over http from another machine', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await pick(page, pathOfFixture('photo.gif'))
    await cardOf(page, 'photo.gif').getByRole('button', { name: 'Copy URL' }).waitFor()
    await page.evaluate(`navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden'))`)
    await cardOf(page, 'photo.gif').getByRole('button', { name: 'Copy URL' }).click()
    await expect.poll(() => page.locator('#status').textContent()).toBe('Copied: URL')
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(await linkOf(page, 'photo.gif'))
  })

  test('asks for a shorter life', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.getByLabel('Keep for').selectOption('1 hour')
    await pick(page, pathOfFixture('photo.jpg'))
    await expect
      .poll(() => cardOf(page, 'photo.jpg').locator('time').textContent())
      .toMatch(/^(59 min \d+ s|1 h 0 min) left$/)
  })

  test('counts the time down, and greys out what has expired', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.clock.install()
    await page.reload()
    await pick(page, pathOfFixture('photo.jpg'))
    const time = cardOf(page, 'photo.jpg').locator('time')
    await time.waitFor()
    await page.clock.fastForward(72 * 3600_000 - 60_000)
    await expect.poll(() => time.textContent()).toMatch(/^(0 min \d+ s|1 min [0-5] s) left$/)
    await page.clock.fastForward(90_000)
    await expect.poll(() => cardOf(page, 'photo.jpg').getAttribute('data-state')).toBe('expired')
    expect(await cardOf(page, 'photo.jpg').getByRole('button').allTextContents()).toEqual(['Remove'])
  })

  test('shows an image again when it was taken for expired by a wrong clock', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    const card = cardOf(page, 'photo.jpg')
    await card.locator('time').waitFor()
    await page.clock.install({ time: Date.now() + 30 * 24 * 3600_000 })
    await page.clock.resume()
    // The first answer tells what time it is.
    await page.reload()
    await card.getByRole('button', { name: 'Copy URL' }).waitFor()
    await page.clock.setSystemTime(Date.now())
    await page.getByLabel('Keep for').selectOption('10 minutes')
    await pick(page, pathOfFixture('photo.webp'))
    await expect
      .poll(() => cardOf(page, 'photo.webp').locator('time').textContent())
      .toMatch(/^(9 min \d+ s|10 min 0 s) left$/)
  })

  test('deletes an image, if that is really meant', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await pick(page, [pathOfFixture('photo.jpg'), pathOfFixture('photo.webp')])
    const url = new URL((await linkOf(page, 'photo.jpg')) ?? '')
    const card = cardOf(page, 'photo.jpg')
    await card.getByRole('button', { name: 'Delete photo.jpg' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Keep' }).click()
    expect((await fetch(app.url + url.pathname)).status).toBe(200)
    await card.getByRole('button', { name: 'Delete photo.jpg' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await expect.poll(() => card.count()).toBe(0)
    expect((await fetch(app.url + url.pathname)).status).toBe(404)
    expect(await page.locator('#status').textContent()).toBe('photo.jpg is deleted.')
    await page.reload()
    expect(await page.getByRole('listitem').count()).toBe(1)
  })

  test('remembers what this browser has uploaded until it is told not to, expired ones without their buttons', async () => {
    const expired = {
      id: 'file_old',
      url: 'http://localhost/uploads/2020/01/old.jpg',
      name: 'old.jpg',
      size: 5,
      expires_at: '2020-01-04T00:00:00.000Z',
    }
    const hostile = { ...expired, id: 'file_bad', name: 'bad.jpg', url: 'javascript:alert(1)' }
    await using opened = await openPage(browser, app, { history: [hostile, expired, 7] as object[] })
    const { page } = opened
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
    await expect.poll(() => page.evaluate(`localStorage.getItem('layover.images')`)).toContain('data:image')
    await page.reload()
    expect(await page.getByRole('listitem').getByRole('heading').allTextContents()).toEqual([
      'photo.jpg',
      'old.jpg',
    ])
    await cardOf(page, 'photo.jpg').locator('img[src^="data:image/webp"]').waitFor()
    expect(await cardOf(page, 'old.jpg').getByRole('button').allTextContents()).toEqual(['Remove'])
    await page.getByRole('button', { name: 'Clear list' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Clear' }).click()
    await expect.poll(() => page.getByRole('listitem').count()).toBe(0)
    expect(await page.evaluate(`localStorage.getItem('layover.images')`)).toBeNull()
  })

  test('works where the browser lets it remember nothing', async () => {
    await using opened = await openPage(browser, app, { key: '' })
    const { page } = opened
    await page.addInitScript(`for (const name of ['localStorage', 'sessionStorage'])
      Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError') } })`)
    await page.reload()
    await page.getByLabel('API key').fill(authorization.slice('Bearer '.length))
    await page.keyboard.press('Enter')
    await expect.poll(() => page.getByLabel('API key').isVisible()).toBe(false)
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
  })

  test('works where there is no more room to remember anything', async () => {
    await using opened = await openPage(browser, app)
    const { page } = opened
    await page.evaluate(`(() => { for (let size = 4e6; size >= 1; size = Math.floor(size / 2)) {
      try { for (let n = 0; n < 9; n++) localStorage.setItem('full.' + size + '.' + n, 'x'.repeat(size)) } catch {} } })()`)
    await pick(page, pathOfFixture('photo.jpg'))
    await cardOf(page, 'photo.jpg').getByRole('button', { name: 'Copy URL' }).waitFor()
  })
})
