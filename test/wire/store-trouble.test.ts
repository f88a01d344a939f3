import { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { queryObjects } from 'node:v8'
import { describe, expect, test } from 'vitest'
import { StorageFull, type Store, StoreError } from '../../src/store/store.ts'
import { authorization, startApp, type TestApp } from '../support/app.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { eventually, openSocket, requestHead, uploadHead } from '../support/socket.ts'

const form = uploadOf(tinyPng)

/** Large enough to be read piece by piece. */
const big = uploadOf(Buffer.concat([tinyPng, Buffer.alloc(15 * 1024 ** 2)]))

function upload(app: TestApp, { contentType, body } = form) {
  return fetch(`${app.url}/api/upload`, {
    method: 'POST',
    headers: { authorization, 'content-type': contentType },
    body: new Uint8Array(body),
  })
}

/** A store whose named method fails as long as `failing.now` holds. */
function failingStore(method: 'put' | 'open' | 'stat' | 'check', failing: { now: Error | undefined }) {
  return (store: Store): Store => ({
    ...store,
    [method]: async (...args: never[]) => {
      if (failing.now) throw failing.now
      return (store[method] as (...args: never[]) => unknown)(...args)
    },
  })
}

describe('when the store fails', () => {
  test('an upload is answered 503 with Retry-After, nothing is left, and the next one works', async () => {
    const failing = {
      now: new StoreError('secret inner text', { cause: new Error('EIO /var/lib') }) as Error | undefined,
    }
    await using app = await startApp({ wrap: failingStore('put', failing) })
    const response = await upload(app)
    expect({ status: response.status, after: response.headers.get('retry-after') }).toEqual({
      status: 503,
      after: '5',
    })
    expect(await response.json()).toEqual({
      success: false,
      message: expect.not.stringMatching(/secret|EIO|var/),
      data: null,
    })
    expect(await app.files()).toEqual([])
    failing.now = undefined
    expect((await upload(app)).status).toBe(200)
  })

  test('no space is 507, and any other failure 500 without its text', async () => {
    const failing: { now: Error | undefined } = { now: new StorageFull('disk') }
    await using app = await startApp({ wrap: failingStore('put', failing) })
    expect((await upload(app)).status).toBe(507)
    failing.now = new TypeError('inner text')
    const response = await upload(app)
    expect(response.status).toBe(500)
    expect(await response.text()).not.toContain('inner text')
  })

  test('a GET is 503, never 404, and /readyz says that the server is not ready', async () => {
    const failing: { now: Error | undefined } = { now: undefined }
    await using app = await startApp({
      wrap: (store) => failingStore('open', failing)(failingStore('check', failing)(store)),
    })
    const { data } = (await (await upload(app)).json()) as { data: string }
    const path = new URL(data).pathname
    failing.now = new StoreError('down')
    expect((await fetch(app.url + path)).status).toBe(503)
    expect((await fetch(`${app.url}/readyz`)).status).toBe(503)
    expect((await fetch(`${app.url}/healthz`)).status).toBe(200)
    failing.now = undefined
    expect((await fetch(app.url + path)).status).toBe(200)
    await eventually(async () => (await fetch(`${app.url}/readyz`)).status === 200)
  })

  test('an image that expires while the store looks for it is 410', async () => {
    let now = Date.UTC(2026, 0, 1)
    const slow = (store: Store): Store => ({
      ...store,
      async open(key, options) {
        now += 3600_000
        return store.open(key, options)
      },
    })
    await using app = await startApp({ env: { LIFETIME: '1h' }, now: () => now, wrap: slow })
    const { data } = (await (await upload(app)).json()) as { data: string }
    expect((await fetch(app.url + new URL(data).pathname)).status).toBe(410)
  })

  test('a body that breaks while it is served ends the connection rather than look complete', async () => {
    const breaking = (store: Store): Store => ({
      ...store,
      open: async () => ({
        size: 100_000,
        body: Readable.from(
          (async function* () {
            yield Buffer.alloc(50_000)
            throw new Error('disk gone')
          })(),
        ),
      }),
    })
    await using app = await startApp({ wrap: breaking })
    const { data } = (await (await upload(app)).json()) as { data: string }
    const read = fetch(app.url + new URL(data).pathname).then((response) => response.arrayBuffer())
    await expect(read).rejects.toThrow()
  })
})

describe('a client that goes away', () => {
  test('before its answer gets nothing stored', async () => {
    const { promise: putStarted, resolve: started } = Promise.withResolvers<void>()
    const { promise: finished, resolve: end } = Promise.withResolvers<void>()
    const slow = (store: Store): Store => ({
      ...store,
      async put(key, staged, options) {
        started()
        const aborted = new Promise((resolve) => options?.signal?.addEventListener('abort', resolve))
        await Promise.race([aborted, new Promise((resolve) => setTimeout(resolve, 1000))])
        await store.put(key, staged, options).finally(end)
      },
    })
    await using app = await startApp({ wrap: slow })
    const socket = await openSocket(app.port)
    socket.write(uploadHead(form, authorization))
    socket.write(form.body)
    await putStarted
    socket.destroy()
    await finished
    expect(await app.files()).toEqual([])
  })

  test('is forgotten, however many do', async () => {
    await using app = await startApp()
    const { data } = (await (await upload(app)).json()) as { data: string }
    const sockets = () => queryObjects(Socket, { format: 'count' })
    const before = sockets()
    for (let round = 0; round < 200; round += 1) {
      const socket = await openSocket(app.port)
      socket.write(requestHead(`GET ${new URL(data).pathname}`))
      socket.resetAndDestroy()
    }
    await eventually(() => sockets() < before + 50)
    expect(sockets()).toBeLessThan(before + 50)
  })

  test('before its download begins frees the file', async () => {
    const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
    const { promise: gone, resolve: go } = Promise.withResolvers<void>()
    let body: Readable | undefined
    const slow = (store: Store): Store => ({
      ...store,
      async open(key, options) {
        ask()
        await gone
        const opened = await store.open(key, options)
        body = opened.body
        return opened
      },
    })
    await using app = await startApp({ wrap: slow })
    const { data } = (await (await upload(app, big)).json()) as { data: string }
    const socket = await openSocket(app.port)
    socket.write(requestHead(`GET ${new URL(data).pathname}`))
    await asked
    socket.destroy()
    await new Promise((resolve) => setTimeout(resolve, 100))
    go()
    // A file that is never closed would end the process when it is collected.
    await eventually(() => body?.destroyed === true)
    expect(body?.destroyed).toBe(true)
  })

  test('in the middle of a download frees the file', async () => {
    let body: Readable | undefined
    const watched = (store: Store): Store => ({
      ...store,
      async open(key, options) {
        const opened = await store.open(key, options)
        body = opened.body
        return opened
      },
    })
    await using app = await startApp({ wrap: watched })
    const { data } = (await (await upload(app, big)).json()) as { data: string }
    const socket = await openSocket(app.port)
    socket.write(requestHead(`GET ${new URL(data).pathname}`))
    await new Promise((resolve) => socket.once('data', resolve))
    socket.destroy()
    await eventually(() => body?.destroyed === true)
    expect(body?.readableEnded).toBe(false)
  })
})
