import { join } from 'node:path'
import type { Config } from '../config.ts'
import { firstLiveKey, parseName } from '../name.ts'
import { headersAtRest } from '../serve.ts'
import type { Spool } from '../spool.ts'
import { openLocalStore } from './local.ts'
import { openMemoryStore } from './memory.ts'
import { type Store, StoreError } from './store.ts'

export interface OpenStoreOptions {
  readonly config: Config
  readonly spool: Spool
  /** Told what an operator may want to know or change. */
  readonly onNote: (note: string) => void
}

/** Opens the store that the configuration names. Rejects with what to do if it cannot be used. */
export async function openStore({ config, spool, onNote }: OpenStoreOptions): Promise<Store> {
  const { dataDir, maxLifetime, s3 } = config
  if (config.store === 'memory') return openMemoryStore()
  if (config.store === 'local') return openLocalStore({ root: join(dataDir, 'images'), spool })
  // Its SDK takes as much memory as all the rest, and half of the time that a start takes.
  const { openS3Store } = await import('./s3.ts')
  const aDay = 86_400
  const backstop = {
    longestLife: maxLifetime,
    // A day later, as clocks differ and the rule has a day to spare.
    firstBeyond: firstLiveKey(Date.now() + (maxLifetime + aDay) * 1000),
  }
  return openS3Store({ ...s3, backstop, headersOf, onNote })
}

function headersOf(key: string) {
  const name = parseName(key)
  if (name === undefined) throw new StoreError('not an image name')
  return headersAtRest(name)
}
