import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, startApp, type TestApp } from '../support/app.ts'

interface Listing {
  readonly server: string
  readonly clients: {
    readonly id: string
    readonly steps: string[]
    readonly files: { readonly name: string; readonly url: string; readonly text: string }[]
  }[]
}

const PUBLIC_URL = 'https://images.example.com/a&b'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { PUBLIC_URL } })
})
afterAll(() => app[Symbol.asyncDispose]())

const HTML = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
const ask = (path: string, headers: Record<string, string> = {}) => fetch(app.url + path, { headers })
const listing = async (headers = {}) => (await ask('/clients', headers)).json() as Promise<Listing>
const page = async (headers = {}) => (await ask('/clients', { ...HTML, ...headers })).text()

describe('/clients', () => {
  test('has all that the issue names, each with steps', async () => {
    const { clients } = await listing()
    expect(clients.map(({ id }) => id)).toEqual(
      'sharex picgo piclist upic typora obsidian ios curl python node go openai'.split(' '),
    )
    for (const { id, steps } of clients) expect({ id, steps: steps.length > 0 }).toEqual({ id, steps: true })
  })

  test('gives the same files to be downloaded, under names to save them by', async () => {
    for (const { files } of (await listing()).clients)
      for (const { name, url, text } of files) {
        const answer = await ask(url.slice(PUBLIC_URL.length))
        expect(answer.headers.get('content-disposition')).toBe(`attachment; filename="${name}"`)
        expect(await answer.text()).toBe(text)
        expect(text).toContain('YOUR_KEY')
      }
  })

  test.each(['picgo', 'piclist'])(
    'has for the app of %s what its configuration has, without quotes',
    async (id) => {
      const { picBed } = JSON.parse(await (await ask(`/clients/${id}/config.json`)).text())
      const filled = Object.entries(picBed[picBed.uploader]).filter(([, value]) => value !== '')
      const lines = filled.map(([name, value]) => `${name}: ${value}\n`)
      expect(await (await ask(`/clients/${id}/fields.txt`)).text()).toBe(lines.join(''))
    },
  )

  test('leads to PUBLIC_URL and nowhere else, whatever Host and proxies say', async () => {
    const headers = { 'x-forwarded-host': 'evil.example.com', 'x-forwarded-proto': 'https' }
    for (const text of [JSON.stringify(await listing(headers)), await page(headers)]) {
      expect(text).not.toContain('evil.example.com')
      expect(text).not.toContain(`127.0.0.1:${app.port}`)
    }
    const { server, clients } = await listing()
    expect(server).toBe(PUBLIC_URL)
    for (const { files } of clients)
      for (const { name, text } of files)
        expect({ name, text }).toEqual({ name, text: expect.stringContaining(PUBLIC_URL) })
  })

  test('knows nothing of a key that comes with the request', async () => {
    const headers = { authorization: `Bearer ${apiKey}`, cookie: `key=${apiKey}` }
    const answers = [JSON.stringify(await listing(headers)), await page(headers)]
    for (const text of answers) expect(text).not.toContain(apiKey)
  })

  test('has no link to upload to where there are none', async () => {
    await using without = await startApp({ env: { PRESIGN_LIFETIME: '0' } })
    expect((await fetch(`${without.url}/clients/curl/form.sh`)).status).toBe(200)
    expect((await fetch(`${without.url}/clients/curl/link.sh`)).status).toBe(404)
  })

  test.each(['/clients/sharex/other', '/clients/none/layover.py', '/clients/toString/name'])(
    '%s is 404',
    async (path) => {
      expect((await ask(path)).status).toBe(404)
    },
  )
})

describe('the page', () => {
  test('shows each text escaped, and nothing in it runs', async () => {
    const answer = await ask('/clients', HTML)
    const html = await answer.text()
    expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(html).not.toMatch(/<script(?![^>]*\ssrc=)[^>]*>|\son\w+=|<style|\sstyle=/i)
    expect(html).toContain('images.example.com/a&amp;b/api/upload')
    expect(html).not.toContain('a&b')
    // What is between the tags is each file again.
    const shown = [...html.matchAll(/<code class="text">([\s\S]*?)<\/code>/g)].map(([, text = '']) =>
      unescaped(text),
    )
    const texts = (await listing()).clients.flatMap(({ files }) => files.map(({ text }) => text))
    expect(shown).toEqual(texts)
  })

  test('is made of files of this server that are there', async () => {
    const assets = [...(await page()).matchAll(/(?:src|href)="([^":#]*)"/g)].map(([, path = '']) => path)
    expect(assets.length).toBeGreaterThan(15)
    // Behind a proxy that takes a folder off, as PUBLIC_URL may name one, what begins with a slash would lead elsewhere.
    expect(assets.filter((path) => path.startsWith('/'))).toEqual([])
    for (const path of new Set(assets))
      expect({ path, status: (await ask(`/${path}`)).status }).toEqual({ path, status: 200 })
  })

  test('is in Chinese for those who read that first, and for those who ask', async () => {
    expect(await page()).toContain('<html lang="en">')
    expect(await page({ 'accept-language': 'en-GB,en;q=0.9,zh;q=0.8' })).toContain('<html lang="en">')
    const chinese = await page({ 'accept-language': 'fr, zh-CN;q=0.9, en;q=0.8' })
    expect(chinese).toContain('<html lang="zh-CN">')
    expect(chinese).toContain('密钥')
    const asked = await ask('/clients?lang=zh', { ...HTML, 'accept-language': 'en' })
    expect(await asked.text()).toBe(chinese)
    expect((await listing({ 'accept-language': 'zh' })).clients[0]?.steps[0]).toContain('下载')
    expect(asked.headers.get('vary')).toBe('Accept, Accept-Encoding, Accept-Language')
  })

  test('need not be sent again to who has it', async () => {
    const etag = (await ask('/clients', HTML)).headers.get('etag') ?? ''
    expect((await ask('/clients', { ...HTML, 'if-none-match': etag })).status).toBe(304)
    expect((await ask('/clients?lang=zh', { ...HTML, 'if-none-match': etag })).status).toBe(200)
  })

  test('is not there with PAGE=off, while JSON and files are', async () => {
    await using without = await startApp({ env: { PAGE: 'off' } })
    const status = async (path: string, headers = {}) => (await fetch(without.url + path, { headers })).status
    expect(await status('/clients', HTML)).toBe(404)
    expect(await status('/clients')).toBe(200)
    expect(await status('/clients/sharex/layover.sxcu', HTML)).toBe(200)
  })
})

const CHARACTERS: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }

function unescaped(html: string): string {
  return html.replace(/&([^;]+);/g, (_, name) => CHARACTERS[name] ?? '?')
}
