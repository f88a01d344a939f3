import { join } from 'node:path'
import type { Config } from './config.ts'
import type { OutputBudget } from './core/output-budget.ts'
import { type ImageName, parseName } from './name.ts'
import { headersAtRest } from './serve.ts'
import type { Spool } from './spool.ts'
import { type CachedStore, cachedStore } from './store/cached.ts'
import { type LocalStoreOptions, openLocalStore } from './store/local.ts'
import { openMemoryStore } from './store/memory.ts'
import { type IncomingArea, type Store, StoreError } from './store/store.ts'
import { linkWitness, storeWitness, tellingOfDeletes } from './store/witness.ts'

export interface OpenStoreOptions {
  readonly config: Config
  readonly spool: Spool
  /** Told what an operator may want to know or change. */
  readonly onNote: (note: string) => void
  /** Whether to leave the lifecycle rules of a bucket as they are. */
  readonly leaveRules?: boolean
  /** Counts what is held for readers. */
  readonly budget?: OutputBudget
}

/** Opens the store that the configuration names. Rejects with what to do if it cannot be used. */
export async function openStore({
  config,
  spool,
  onNote,
  leaveRules,
  budget,
}: OpenStoreOptions): Promise<Store> {
  const { dataDir, maxLifetime, s3, cacheSize } = config
  if (config.store === 'memory') return openMemoryStore()
  if (config.store === 'local') return openBelow(dataDir, 'images', { spool, mayWait: cacheSize > 0, budget })
  // Its SDK takes as much memory as all the rest, and half of the time that a start takes.
  const { openS3Store } = await import('./store/s3.ts')
  const backstop = leaveRules ? undefined : { longestLife: maxLifetime, lifeOf }
  return openS3Store({ ...s3, backstop, headersOf: (key) => headersAtRest(nameOf(key)), onNote, budget })
}

/** The store with a cache of CACHE_SIZE in front, for all in this process who ask it for images or delete them; with CACHE_SIZE=0, one that keeps nothing. */
export function withCache(
  store: Store,
  { cacheSize, dataDir, store: kind }: Config,
): Store & Partial<CachedStore> {
  if (kind === 'memory' || (cacheSize === 0 && store.mark)) return store
  const witness = store.mark ? storeWitness(store.mark) : linkWitness(join(dataDir, 'cached'))
  // Others with this DATA_DIR may keep what is deleted here.
  if (cacheSize === 0) return tellingOfDeletes(store, witness)
  return cachedStore(store, { size: cacheSize, witness })
}

/**
 * Opens the area for what is sent to links, beside the store; undefined with PRESIGN_LIFETIME=0. Rejects with what to do if it cannot be
 * used.
 */
export async function openIncomingArea({
  config,
  spool,
  onNote,
  leaveRules,
}: OpenStoreOptions): Promise<IncomingArea | undefined> {
  const { dataDir, presignLifetime, uploadTimeout, s3, s3Presign } = config
  if (presignLifetime === 0) return undefined
  if (config.store === 'memory') return { store: openMemoryStore() }
  if (config.store === 'local') return { store: await openBelow(dataDir, 'incoming', { spool }) }
  const { openS3Store } = await import('./store/s3.ts')
  const area = { ...s3, prefix: s3Presign.prefix, onNote }
  // Nothing is of use for longer.
  const backstop = leaveRules ? undefined : { longestLife: presignLifetime + uploadTimeout, lifeOf: () => 0 }
  const store = await openS3Store({ ...area, headersOf: () => UNCHECKED, backstop })
  if (s3Presign.endpoint === false) return { store }
  const { openSigner } = await import('./store/s3/signer.ts')
  const { endpoint: clientEndpoint, credentials: uploadCredentials } = s3Presign
  try {
    return { store, sign: await openSigner({ ...area, clientEndpoint, uploadCredentials }) }
  } catch (error) {
    await store.close()
    throw error
  }
}

function openBelow(
  dataDir: string,
  folder: string,
  options: Omit<LocalStoreOptions, 'root'>,
): Promise<Store> {
  return openLocalStore({ root: join(dataDir, folder), ...options }).catch((error) => {
    throw new StoreError(`DATA_DIR: ${dataDir} cannot be used: ${error.message}`, { cause: error })
  })
}

const UNCHECKED = { contentType: 'application/octet-stream', cacheControl: 'no-store' }

function lifeOf(key: string): number {
  const name = parseName(key)
  // What is no image is not our concern.
  return name === undefined ? 0 : name.expires - name.created
}

function nameOf(key: string): ImageName {
  const name = parseName(key)
  if (name === undefined) throw new StoreError(`${key} is not the name of an image`)
  return name
}
