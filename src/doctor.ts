import { join } from 'node:path'
import type { Config } from './config.ts'
import { makeFolder } from './data-file.ts'
import { becomeOwnerOf } from './data-owner.ts'
import { fetchLines } from './doctor/fetching.ts'
import { publicBase, reachVerdict, serverVerdict } from './doctor/server.ts'
import {
  clockVerdict,
  openProbeStore,
  putProbe,
  spaceVerdict,
  storeVerdict,
  usageVerdict,
} from './doctor/stores.ts'
import { UPLOAD_LIMIT, uploadVerdict } from './doctor/uploading.ts'
import { Finding, reasonOf, skipped, type Verdict, verdictOf } from './doctor/verdict.ts'
import { imageUrl } from './image-url.ts'
import { openSpool, type Spool } from './spool.ts'
import type { Store } from './store/store.ts'

/** Milliseconds that a check may take. */
const CHECK_LIMIT = 30_000

export interface DoctorOptions {
  readonly config: Config
  /** A good key, to make a real upload with. */
  readonly key: string | undefined
  /** Told of each check when it is done. */
  readonly print: (line: string) => void
}

type Report = (title: string, work: () => Promise<Verdict>, limit?: number) => Promise<Verdict>

/**
 * Checks what the server needs and what the world sees of it, a line a check, and answers whether nothing is wrong. It stores an image
 * of one pixel, fetches it as models' fetchers would, and deletes it. No line holds a secret.
 */
export async function doctor({ config, key, print }: DoctorOptions): Promise<boolean> {
  let isWell = true
  const report: Report = async (title, work, limit = CHECK_LIMIT) => {
    const verdict = await verdictOf(limit, work)
    print(`${verdict.mark} ${title}: ${verdict.text}`)
    if (verdict.mark === '✗') isWell = false
    return verdict
  }

  let opened: Store | undefined
  await report('free space', async () => spaceVerdict(await openFolder(config, config.minFreeSpace)))
  await report('store', async () => {
    if (config.store === 'memory') return skipped('STORE=memory is the server’s own, and gone with it')
    // The floor has had its line: what is below it may still be read and written.
    opened = await openProbeStore(config, await openFolder(config, 0))
    return storeVerdict(opened, config)
  })
  await report('counts', () => usageVerdict(config))
  await report('clock', () => clockVerdict(config))
  await lookFromOutside({ config, key, store: opened, report })
  await opened?.close()
  return isWell
}

interface Outside {
  readonly config: Config
  readonly key: string | undefined
  readonly store: Store | undefined
  readonly report: Report
}

/** Looks at the server as clients and models do. */
async function lookFromOutside({ config, key, store, report }: Outside): Promise<void> {
  const server = await report('server', () => serverVerdict(config))
  const base = server.mark === '✓' ? publicBase(config) : undefined
  const { maxFileSize, s3PublicUrl } = config
  await report(
    'uploads',
    async () =>
      base === undefined
        ? skipped('cannot be tried without the server')
        : uploadVerdict({ base, key, maxFileSize }),
    UPLOAD_LIMIT + CHECK_LIMIT,
  )
  const [address, variable] = s3PublicUrl ? [s3PublicUrl, 'S3_PUBLIC_URL'] : [base, 'PUBLIC_URL']
  // If it cannot, the store's line has said why.
  const probe = address && store && (await putProbe(store).catch(() => undefined))
  if (!address || !probe || !store) {
    const missing = address === undefined ? 'the server' : 'a store to put one into'
    await report('images', async () => skipped(`cannot be fetched without ${missing}`))
    return
  }
  try {
    const url = imageUrl(probe, base ?? '', config)
    for (const { title, work } of fetchLines(url)) await report(title, work)
    await report('address', () => reachVerdict(address, variable))
  } finally {
    await store.delete(probe.text).catch(() => {})
  }
}

/** Opens the data folder as a start does, and makes it if it is missing, but not as root. */
async function openFolder({ dataDir, uploadTimeout }: Config, minFree: number): Promise<Spool> {
  try {
    await becomeOwnerOf(dataDir).catch(explainMissing)
    await makeFolder(dataDir)
    return await openSpool({ dir: join(dataDir, 'tmp'), minFree, maxAge: 2 * uploadTimeout })
  } catch (error) {
    if (error instanceof Finding) throw error
    const user = process.getuid?.()
    throw new Finding(
      `DATA_DIR: ${dataDir} cannot be used (${reasonOf(error)}): it must be a folder that user ${user} can write`,
    )
  }
}

/** Where there is no folder yet, nobody can tell as whom the server will run, and a folder of root's would keep it from its first start. */
function explainMissing(error: NodeJS.ErrnoException): never {
  if (error.code !== 'ENOENT') throw error
  throw new Finding(
    `DATA_DIR: ${error.path} is missing, and is not made as root: start the server, which makes it, or set DATA_DIR to the server’s`,
  )
}
