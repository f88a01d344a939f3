import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync } from 'node:fs'
import { symlink } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiKey, startApp, type TestApp } from '../support/app.ts'
import { expectPhotoAt, type Folder, folder, run, servedFile } from '../support/served-clients.ts'
import { eventually } from '../support/socket.ts'

/** The real PicGo, which is too much for the project's own lockfile: `npm ci --ignore-scripts --prefix test/clients/picgo` */
const home = join(import.meta.dirname, '../clients/picgo')
const program = join(home, 'node_modules/picgo/bin/picgo')
const isThere = existsSync(program)
if (!isThere && process.env.REQUIRE_PICGO)
  throw new Error('REQUIRE_PICGO needs: npm ci --ignore-scripts --prefix test/clients/picgo')
if (!isThere)
  console.warn('\n*** NOT TESTED WITH PICGO: run npm ci --ignore-scripts --prefix test/clients/picgo ***\n')

let app: TestApp
let here: Folder
beforeAll(async () => {
  app = await startApp()
  here = await folder()
  // As `picgo install` leaves it: plugins lie beside the configuration.
  copyFileSync(join(home, 'package.json'), join(here.path, 'package.json'))
  await symlink(join(home, 'node_modules'), join(here.path, 'node_modules'))
})
afterAll(async () => {
  await here[Symbol.asyncDispose]()
  await app[Symbol.asyncDispose]()
})

const command = async (key = apiKey) => {
  const config = await here.write('config.json', await servedFile(app.url, 'picgo/config.json', key))
  return [process.execPath, program, '-c', config]
}

describe.skipIf(!isThere)('PicGo', () => {
  test('uploads an image with the served configuration, prints its URL and ends', async () => {
    const { code, stdout } = await run([...(await command()), 'upload', 'photo.jpg'], here)
    const [url = ''] = stdout.match(/http:\S+\.jpg/) ?? []
    expect(code).toBe(0)
    await expectPhotoAt(url)
  })

  test('has no URL for an image that was refused', async () => {
    const { stdout } = await run([...(await command('wrong')), 'upload', 'photo.jpg'], here)
    expect(stdout).not.toContain('/uploads/')
  })

  test('as a server uploads what Obsidian’s plugin asks it to', async () => {
    const port = await freePort()
    const [node = '', ...args] = await command()
    const server = spawn(node, [...args, 'server', '--port', String(port), '-i'], {
      cwd: here.path,
      stdio: 'ignore',
    })
    try {
      // What the plugin sends, and how it reads the answer: its src/uploader/picgo.ts.
      const address = `http://127.0.0.1:${port}/upload`
      await eventually(() => fetch(address, { method: 'OPTIONS' }).then(Boolean, () => false))
      const answer = await fetch(address, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ list: [join(here.path, 'photo.jpg')] }),
      })
      const { success, result } = (await answer.json()) as { success: boolean; result: string[] }
      expect({ status: answer.status, success }).toEqual({ status: 200, success: true })
      await expectPhotoAt(result[0] ?? '')
    } finally {
      server.kill('SIGKILL')
    }
  })
})

async function freePort(): Promise<number> {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  holder.close()
  return port
}
