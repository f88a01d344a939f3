import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import multipart from '@fastify/multipart'
import statics from '@fastify/static'
import fastify from 'fastify'
import { syncFolder } from '../../src/store/folder-sync.ts'
import { optionsOf, tell } from './options.ts'

/**
 * An upload server as everybody writes it: Fastify, @fastify/multipart into a write stream, a rename, and @fastify/static. It checks
 * a key, and nothing of what it is sent. `node plain.ts <JSON of ServerSettings>` prints the port it listens on.
 */

const { uploads, files, temp, key, sync } = optionsOf(process.argv[2])
const MAX_FILE_SIZE = 20 * 1024 ** 2

await mkdir(uploads, { recursive: true })
const app = fastify()
await app.register(multipart, { limits: { fileSize: MAX_FILE_SIZE, files: 1 } })
// With a prefix of its own to serve, it would read the whole folder for each request (to compare how the name is spelt).
await app.register(statics, { root: files, serve: false })
app.get<{ Params: { name: string } }>('/uploads/:name', (request, reply) =>
  reply.sendFile(request.params.name),
)

app.post(
  '/api/upload',
  {
    onRequest: async (request, reply) => {
      if (request.headers.authorization !== `Bearer ${key}`)
        await reply.code(401).send({ success: false, message: 'no key', data: null })
    },
  },
  async (request, reply) => {
    let name: string | undefined
    for await (const part of request.parts()) {
      if (part.type !== 'file') continue
      name = `${randomUUID()}.png`
      const unfinished = join(temp, name)
      await pipeline(part.file, createWriteStream(unfinished, { flush: sync }))
      if (part.file.truncated)
        return reply.code(413).send({ success: false, message: 'too large', data: null })
      await rename(unfinished, join(uploads, name))
      if (sync) await syncFolder(uploads)
    }
    if (name === undefined) return reply.code(400).send({ success: false, message: 'no file', data: null })
    return { success: true, message: '', data: `http://127.0.0.1/uploads/${name}` }
  },
)

tell(await app.listen({ host: '127.0.0.1', port: 0 }))
