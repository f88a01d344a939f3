import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { uploadOf } from '../../test/support/multipart.ts'
import { end, firstLine, launch, onServerCore } from '../process.ts'
import type { ServerSettings } from '../servers/options.ts'
import { type Contestant, type Ground, PLAIN, RAW, type UploadForm } from './contestant.ts'
import { filesBelow } from './layover.ts'

const KEY = 'a-key-of-the-benchmark-and-of-nothing-else'
const servers = join(import.meta.dirname, '../servers')

/** Fastify with @fastify/multipart and @fastify/static. */
export async function startPlain(ground: Ground): Promise<Contestant> {
  const { contestant, uploads } = await start(PLAIN, 'plain.ts', ground)
  const { contentType } = uploadOf(Buffer.alloc(0))
  return {
    ...contestant,
    upload: {
      ...filesOf(uploads),
      method: 'POST',
      path: '/api/upload',
      isNumbered: false,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': contentType },
      bodyOf: (image) => uploadOf(image).body,
    },
    pathOf: ({ text }) => `/uploads/${text}`,
  }
}

/** node:http that writes what it is sent into a file. It is sent the image alone, without a form around it. */
export async function startRaw(ground: Ground): Promise<Contestant> {
  const { contestant, uploads } = await start(RAW, 'raw-node.ts', ground)
  const upload: UploadForm = {
    ...imageAlone(uploads),
    method: 'POST',
    path: '/',
    isNumbered: false,
  }
  return { ...contestant, upload }
}

/** The image as the body, without a form around it, that becomes a file of one folder. */
export function imageAlone(folder: string): Omit<UploadForm, 'method' | 'path' | 'isNumbered'> {
  return { ...filesOf(folder), headers: { 'content-type': 'image/png' }, bodyOf: (image) => image }
}

/** How files are counted and removed that all lie in one folder. */
function filesOf(folder: string): Pick<UploadForm, 'stored' | 'read' | 'clear'> {
  return {
    stored: () => filesBelow(folder),
    read: (path) => readFile(path),
    clear: async () => {
      for (const path of await filesBelow(folder)) await rm(path, { force: true })
    },
  }
}

async function start(name: string, script: string, { base, gallery, sync }: Ground) {
  const folder = join(base, script.replace('.ts', ''))
  const [uploads, temp] = [join(folder, 'uploads'), join(folder, 'temp')]
  for (const path of [uploads, temp]) await mkdir(path, { recursive: true })
  const settings: ServerSettings = { uploads, temp, files: gallery, key: KEY, sync }
  const command = [process.execPath, join(servers, script), JSON.stringify(settings)]
  const child = launch([...onServerCore, ...command])
  const contestant = {
    name,
    url: await firstLine(child),
    pid: child.pid ?? 0,
    [Symbol.asyncDispose]: () => end(child),
  }
  return { contestant, uploads }
}
