import { join } from 'node:path'
import { pngOfSize } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { startLayover } from './contestants/layover.ts'
import { folderIn } from './folders.ts'
import { end, firstLine, launch, memoryOfTree, onLoadCore, resetPeaks } from './process.ts'
import { MB } from './scenarios.ts'
import type { SlowClients } from './slow-clients.ts'

export interface SlowLinksResult {
  /** MB of the whole server: before, and at its peak. */
  readonly idle: number
  readonly peak: number
}

const UPLOADS = 256
const SIZE = 20 * MB
/** Bytes a second of all of them together. */
const RATE = 256 * MB

/** How much memory many large uploads take that all are under way at once, as their clients send slowly. */
export async function measureSlowLinks(base: string): Promise<SlowLinksResult> {
  await using folder = await folderIn(base)
  await using server = await startLayover({ dataDir: join(folder.path, 'layover') })
  const { upload } = server
  if (upload === undefined) throw new Error('Layover takes no uploads')
  const { path, headers } = upload
  const order: SlowClients = { url: server.url + path, headers, size: SIZE, count: UPLOADS, rate: RATE }
  const idle = await memoryOfTree(server.pid)
  await resetPeaks(server.pid)
  const script = join(import.meta.dirname, 'slow-clients.ts')
  const clients = launch([...onLoadCore, process.execPath, script, JSON.stringify(order)])
  try {
    const statuses: number[] = JSON.parse(await firstLine(clients))
    const stored = (await upload.stored()).length
    if (statuses.some((status) => status !== 200) || stored !== UPLOADS)
      throw new Error(`of ${UPLOADS} slow uploads, ${stored} were stored (${[...new Set(statuses)]})`)
  } finally {
    await end(clients)
  }
  return { idle, peak: await memoryOfTree(server.pid, 'VmHWM') }
}

/** What a client sends: as the other uploads, but of this size. */
export const slowBody = (size: number) => uploadOf(pngOfSize(size)).body
