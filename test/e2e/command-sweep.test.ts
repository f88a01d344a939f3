import { once } from 'node:events'
import { access, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { run } from '../support/command.ts'
import { tinyPng } from '../support/images.ts'
import { uploadOf } from '../support/multipart.ts'
import { placeOf } from '../support/place.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually, openSocket, parseResponse, uploadHead } from '../support/socket.ts'
import { tempFolder } from '../support/temp-folder.ts'

const sweep = ({ dataDir }: Pick<ServerProcess, 'dataDir'>, args: string[] = [], env = {}) =>
  run(['sweep', ...args], { env: { DATA_DIR: dataDir, ...placeOf(dataDir).env, ...env } })

/** A temp file of an upload on a machine that is not this one. */
async function tempFile({ dataDir }: ServerProcess, age: number): Promise<string> {
  const name = `00000000-77-${String(age).padStart(32, '0')}.part`
  const path = join(dataDir, 'tmp', name)
  await writeFile(path, 'what came so far')
  const time = Date.now() / 1000 - age
  await utimes(path, time, time)
  return name
}

describe('layover sweep, beside a server that runs,', () => {
  test('removes what has expired and what is abandoned, and says how much', async () => {
    await using server = await startServer({ env: { SWEEP_INTERVAL: '0' } })
    for (let i = 0; i < 3; i += 1) await server.upload('photo.png', { fields: { expires_in: '1' } })
    const { data } = (await (await server.upload('photo.jpg')).json()) as { data: string }
    const fresh = await tempFile(server, 60)
    await tempFile(server, 7200)
    await sleep(1100)
    expect(await server.files()).toHaveLength(6)

    const ran = await sweep(server)
    expect(ran).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        /^removed: 3 expired images \(\d+\.\d KB\), 0 unfinished uploads by link, 1 stale temp file\n$/,
      ),
      stderr: '',
    })
    expect((await server.files()).sort()).toEqual([data.split('/').at(-1), fresh].sort())
    expect((await fetch(data)).status).toBe(200)
    const again = await sweep(server, ['--json'])
    expect(JSON.parse(again.stdout)).toEqual({ deleted: 0, bytes: 0, failed: 0, leftovers: 0, tempFiles: 0 })
  })

  test('leaves alone what is on its way in', async () => {
    await using server = await startServer()
    const form = uploadOf(tinyPng)
    const socket = await openSocket(Number(new URL(server.url).port))
    socket.write(uploadHead(form, `Bearer ${server.key()}`))
    socket.write(form.body.subarray(0, -20))
    await sleep(300)
    expect((await sweep(server)).code).toBe(0)
    const answer = once(socket, 'data')
    socket.write(form.body.subarray(-20))
    expect(parseResponse((await answer)[0]).status).toBe(200)
    socket.destroy()
    await eventually(async () => (await server.files()).length === 1)
  })
})

describe('layover sweep refuses', () => {
  test('a store that is the server’s own memory', async () => {
    await using folder = await tempFolder()
    const { code, stdout, stderr } = await sweep({ dataDir: folder.path }, [], { STORE: 'memory' })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^STORE=memory: .*\n$/)
  })

  test('a folder that is not there, which it does not make', async () => {
    await using folder = await tempFolder()
    const dataDir = join(folder.path, 'data')
    const { code, stderr } = await sweep({ dataDir })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^DATA_DIR: .*data is missing/)
    await expect(access(dataDir)).rejects.toThrow()
  })
})
