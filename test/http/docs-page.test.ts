import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const ask = (path: string) => fetch(app.url + path)
const json = async (path: string) => (await ask(path)).json() as Promise<{ paths: object }>

describe('/docs', () => {
  test('is a page whose every asset comes from this server, and in which nothing else runs', async () => {
    const page = await ask('/docs')
    const html = await page.text()
    expect(page.headers.get('content-type')).toContain('text/html')
    expect(html).not.toMatch(/<script(?![^>]*\ssrc=)[^>]*>|\son\w+=|<style/i)
    const assets = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, asset = '']) => asset)
    expect(assets.length).toBeGreaterThan(3)
    for (const asset of assets) {
      expect(asset).toMatch(/^\/(?!\/)/)
      expect((await ask(asset)).status).toBe(200)
    }
  })

  test('is kept from all other hosts, and works over http', async () => {
    const policy = (await ask('/docs')).headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'self'")
    expect(policy).not.toMatch(/upgrade-insecure-requests|https?:|\*|unsafe-eval|script-src/)
  })

  test('shows the document of this server', async () => {
    expect(await (await ask('/docs/static/swagger-initializer.js')).text()).toContain("resolveUrl('./json')")
    expect((await json('/docs/json')).paths).toEqual((await json('/openapi.json')).paths)
  })
})
