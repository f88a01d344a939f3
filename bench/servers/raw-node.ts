import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { syncFolder } from '../../src/store/folder-sync.ts'
import { optionsOf, tell } from './options.ts'

/**
 * The least that a server on node:http does for an upload: the body of a request, whatever it is, into a file. It parses and checks
 * nothing. `node raw-node.ts <JSON of ServerSettings>` prints the address it listens on.
 */

const { uploads, temp, sync } = optionsOf(process.argv[2])
await mkdir(uploads, { recursive: true })

async function store(request: IncomingMessage): Promise<string> {
  const name = `${randomUUID()}.png`
  const unfinished = join(temp, name)
  await pipeline(request, createWriteStream(unfinished, { flush: sync }))
  await rename(unfinished, join(uploads, name))
  if (sync) await syncFolder(uploads)
  return JSON.stringify({ success: true, message: '', data: `http://127.0.0.1/uploads/${name}` })
}

const server = createServer((request, response) => {
  store(request).then(
    (answer) => response.setHeader('content-type', 'application/json').end(answer),
    () => response.writeHead(500).end(),
  )
})
server.listen(0, '127.0.0.1', () => tell(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
