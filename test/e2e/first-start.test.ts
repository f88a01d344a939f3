import { readFile, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { failToStart, startServer } from '../support/server.ts'

describe('a first start without configuration', () => {
  test('shows address, key and a curl line, and warns that no model can reach localhost', async () => {
    await using server = await startServer()
    expect(server.output()).toContain(`Layover is running at ${server.url}`)
    expect(server.key()).toMatch(/^sk-layover-[\w-]{32}$/)
    expect(server.output()).toContain(
      `curl -H "Authorization: Bearer ${server.key()}" -F file=@photo.jpg ${server.url}/api/upload`,
    )
    expect(server.output()).toMatch(/no model can fetch.*localhost.*PUBLIC_URL/)
  })

  test('keeps only the key’s hash, readable by nobody else', async () => {
    await using server = await startServer()
    const path = join(server.dataDir, 'keys.json')
    expect(await readFile(path, 'utf8')).not.toContain(server.key())
    expect(((await stat(path)).mode & 0o077).toString(8)).toBe('0')
    expect(((await stat(join(server.dataDir, 'secret'))).mode & 0o077).toString(8)).toBe('0')
  })

  test('is the only one that shows the key, which goes on working', async () => {
    const first = await startServer()
    const key = first.key()
    await first.stop('SIGTERM')
    await using second = await startServer({ dataDir: first.dataDir })
    expect(second.key()).toBe('')
    expect((await second.upload('photo.webp', { key })).status).toBe(200)
    await rm(first.dataDir, { recursive: true })
  })
})

describe('a start that cannot go on says why, and what to do', () => {
  test('with every fault of the configuration at once', async () => {
    const { code, output } = await failToStart({
      MAX_FILE_SIZE: 'big',
      LIFETIME: '72',
      SECRET: 'short',
      PORT: 'x',
    })
    expect(code).toBe(1)
    for (const name of ['MAX_FILE_SIZE', 'LIFETIME', 'SECRET', 'PORT']) expect(output).toContain(`${name}:`)
    expect(output).not.toMatch(/short|\n\s+at /)
  })

  test('with a port that is taken', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => holder.once('listening', resolve))
    const { port } = holder.address() as import('node:net').AddressInfo
    const dataDir = join(tmpdir(), `layover-port-${port}`)
    const { code, output } = await failToStart({ PORT: String(port), DATA_DIR: dataDir })
    expect(code).toBe(1)
    expect(output).toMatch(new RegExp(`PORT.*${port}`))
    holder.close()

    // It was a first start all the same: its key was shown, and is the one that counts.
    const key = /sk-layover-[\w-]+/.exec(output)?.[0]
    await using second = await startServer({ dataDir })
    const answer = await fetch(`${second.url}/api/upload`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}` },
    })
    expect(answer.status).toBe(415)
    await rm(dataDir, { recursive: true })
  })

  test('but a disk that is nearly full is no reason: what is stored is served, and expires', async () => {
    await using server = await startServer({ env: { MIN_FREE_SPACE: '100000GB' } })
    expect(server.output()).toMatch(/MIN_FREE_SPACE: uploads are refused/)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
    expect((await server.upload('photo.jpg')).status).toBe(507)
  })

  test('with a data folder that is a file', async () => {
    const { code, output } = await failToStart({ DATA_DIR: join(import.meta.dirname, 'first-start.test.ts') })
    expect(code).toBe(1)
    expect(output).toMatch(/DATA_DIR: .*must be a folder/)
  })
})
