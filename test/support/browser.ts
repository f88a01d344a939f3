import {
  type Browser,
  type BrowserContextOptions,
  type CDPSession,
  chromium,
  type Page,
} from 'playwright-core'
import { expect } from 'vitest'
import { pathOf } from '../../bench/programs.ts'
import { apiKey, type TestApp } from './app.ts'

/** Debian's package `chromium`, or whatever else of the kind is installed. */
const [program] = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) => pathOf(name) ?? [])

/** Whether there is a browser for tests. If not, says so for all to see, and throws with REQUIRE_BROWSER. */
export function hasBrowser(): boolean {
  if (program !== undefined) return true
  if (process.env.REQUIRE_BROWSER) throw new Error('REQUIRE_BROWSER needs chromium')
  console.warn('\n*** NOT TESTED IN A BROWSER: chromium is not installed. ***\n')
  return false
}

/** Starts a browser that shows nothing, has a profile of its own, and asks nobody but the test's server for anything. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: program ?? 'chromium',
    chromiumSandbox: false,
    args: [
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** A page at the test's server, in a fresh profile. */
export interface OpenPage extends AsyncDisposable {
  readonly page: Page
}

export interface OpenPageOptions extends BrowserContextOptions {
  readonly path?: string
  /** What is kept for the tab; the test's key unless said otherwise, empty for none. */
  readonly key?: string
  /** What its list remembers. */
  readonly history?: readonly object[]
}

/** Opens a page. When it is disposed of, no script may have failed, no policy been broken, and no other host been asked. */
export async function openPage(
  browser: Browser,
  app: Pick<TestApp, 'url'>,
  { path = '/', history, key = apiKey, ...options }: OpenPageOptions = {},
): Promise<OpenPage> {
  const context = await browser.newContext(options)
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: app.url })
  // Once in a profile, and before the page's own scripts run.
  const content = `if (!sessionStorage.getItem('test.begun')) {
    sessionStorage.setItem('test.begun', 'yes')
    const [key, history] = ${JSON.stringify([key, history ? JSON.stringify(history) : ''])}
    if (key) sessionStorage.setItem('layover.key', key)
    if (history) localStorage.setItem('layover.images', history)
  }`
  await context.addInitScript({ content })
  const page = await context.newPage()
  // Choosers are caught from the start: to begin with that takes time, in which one would open for nobody.
  page.on('filechooser', () => {})
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => {
    const text = message.text()
    if (message.type() === 'error' && !text.startsWith('Failed to load resource')) faults.push(text)
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(app.url) && !/^(data|blob):/.test(request.url())) faults.push(request.url())
  })
  await page.goto(app.url + path)
  return {
    page,
    async [Symbol.asyncDispose]() {
      await context.close()
      expect(faults).toEqual([])
    },
  }
}

/** The card of a file. */
export const cardOf = (page: Page, name: string) =>
  page.getByRole('listitem').filter({ has: page.getByRole('heading', { name, exact: true }) })

/** Picks files by the button. */
export async function pick(page: Page, files: Parameters<Page['setInputFiles']>[1]): Promise<void> {
  const chooser = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: /Choose images|选择图片/ }).click()
  await (await chooser).setFiles(files)
}

const throttles = new WeakMap<Page, CDPSession>()

/** Makes the browser's uploads slow. @param bytes A second. */
export async function throttle(page: Page, bytes: number): Promise<void> {
  // One session for each page: what several have asked for adds up.
  const session = throttles.get(page) ?? (await page.context().newCDPSession(page))
  throttles.set(page, session)
  await session.send('Network.enable')
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 5,
    downloadThroughput: -1,
    uploadThroughput: bytes,
  })
}
