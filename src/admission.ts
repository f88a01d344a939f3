import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { toProblem } from './answer-problem.ts'
import type { Config } from './config.ts'
import { type Semaphore, semaphore } from './core/semaphore.ts'
import { busy, problem } from './errors.ts'
import { whenBodyArrives } from './intake/body.ts'
import { OVERHEAD } from './intake/incoming.ts'
import { type KeyShareOptions, keyShare } from './keys/share.ts'
import { keyOf } from './keys.ts'
import { type LoopDelay, loopDelay } from './loop-delay.ts'
import type { Spool } from './spool.ts'
import { StorageFull, storeFailure } from './store/store.ts'

/** Event-loop delay, in milliseconds, above which uploads are refused. */
const MOST_DELAY = 600
/**
 * Uploads that are let in whatever memory and event loop say: a lone client is never refused
 * because of load, and memory is given back only where something goes on.
 */
const ALWAYS = 4

/**
 * Lists, each of which reads the names of all images: how many at once, waiting, and of one key.
 * Milliseconds that one waits.
 */
const LISTS = { slots: 4, waiting: 64, ofKey: 16, patience: 10_000 }

export interface AdmissionOptions extends Pick<KeyShareOptions, 'keyring'> {
  readonly config: Pick<
    Config,
    'maxConcurrentUploads' | 'maxMemory' | 'maxFileSize' | 'minFreeSpace' | 'maxKeyShare'
  >
  readonly spool: Pick<Spool, 'headroom'>
  readonly loop?: LoopDelay
}

export interface UploadOptions {
  /** Bytes that it may put on the disk, if that is not what the length of its body says. */
  readonly bytes?: number
  /** The limit of its body in bytes, if it is not one image. */
  readonly most?: number
  /** Whose slot it takes, if not that of the key it was let in with. */
  readonly keyId?: (request: FastifyRequest) => string
}

/**
 * Load shedding: rejects with `server_busy` what goes beyond upload slots, a key's share of them,
 * memory, disk space or the event loop. The problem's `limit` says which.
 */
export interface Admission {
  /** Begins to watch the event loop; to be called when the server listens. */
  watch(): void

  /**
   * An `onRequest` hook for an upload, the last of its hooks. Refuses at once where there is no
   * slot now. The slot, and the space on the disk, are taken when the body begins to arrive: a head
   * alone holds no more than its connection. Reading the body then fails with `server_busy` if
   * there is none left, or with `storage_full` where there is no room even for this upload alone.
   */
  mayUpload(options?: UploadOptions): onRequestAsyncHookHandler

  /**
   * Reserves so many more bytes of the free space for a request that has its slot, until disposed
   * of. Rejects with `server_busy` if there are too few beside what is under way, and with
   * `StorageFull` if there are none.
   */
  more(bytes: number): Promise<Disposable>

  /**
   * Takes a slot, until disposed of, for what is put on the disk without an upload's request.
   * Rejects as `more` does.
   */
  take(bytes: number, keyId: string): Promise<Disposable>

  /**
   * Resolves when it is the turn of one more list of this key; to be disposed of when it has been read. Rejects with `server_busy` if too
   * many wait, or for too long, and with the signal's reason.
   */
  list(keyId: string, signal: AbortSignal): Promise<Disposable>

  /** Stops watching. */
  close(): void
}

/**
 * What an upload holds once its body has begun. It is given back, once, when all who hold it have
 * let go.
 */
class UploadSlot {
  #holders = new Set<object>()
  #held: Disposable | undefined

  /** One more holder; what the upload holds is given back when the last has let go. */
  hold(): Disposable {
    const holder = {}
    this.#holders.add(holder)
    return {
      [Symbol.dispose]: () => {
        if (this.#holders.delete(holder) && this.#holders.size === 0) this.#release()
      },
    }
  }

  /** Takes over what the upload holds. */
  fill(held: Disposable): void {
    this.#held = held
    // Its client left meanwhile, and nobody else has begun with it.
    if (this.#holders.size === 0) this.#release()
  }

  #release(): void {
    this.#held?.[Symbol.dispose]()
    this.#held = undefined
  }
}

const uploadSlots = new WeakMap<FastifyRequest, UploadSlot>()

/**
 * Keeps an upload's slot, which is else given back when its client leaves, until this is disposed
 * of: for whoever still has bytes of it on the disk then.
 */
export function holdPlace(request: FastifyRequest): Disposable {
  return uploadSlots.get(request)?.hold() ?? { [Symbol.dispose]: () => {} }
}

export function openAdmission({ config, keyring, spool, loop = loopDelay() }: AdmissionOptions): Admission {
  const { maxMemory, maxFileSize, minFreeSpace } = config
  const slots = uploadSemaphore({ config, keyring })
  const lists = listSemaphore({ config, keyring })
  const memory = memoryGauge()
  /** Bytes that uploads under way may still put on the disk. */
  let promised = 0

  function refuseWithoutSlot(keyId: string): void {
    slots.check(keyId)
    if (slots.held < ALWAYS) return
    if (loop.mean > MOST_DELAY) throw busy('event_loop')
    if (maxMemory > 0 && memory() > maxMemory) throw busy('MAX_MEMORY')
  }

  /** Rejects unless all these bytes fit on the disk, of which the last are those of one upload. */
  async function refuseWithoutRoom(wanted: number, bytes: number, isKnown: boolean): Promise<void> {
    if (minFreeSpace === 0) return
    const room = await spool.headroom().catch((error) => {
      throw storeFailure(error, 'cannot tell how much space is free')
    })
    if (room < bytes && (isKnown || room < 0))
      throw new StorageFull('no space above MIN_FREE_SPACE for this upload')
    if (room < wanted) throw busy('MIN_FREE_SPACE')
  }

  async function takeRoom(bytes: number, isKnown: boolean): Promise<Disposable> {
    promised += bytes
    using taken = new DisposableStack()
    taken.defer(() => {
      promised -= bytes
    })
    // As of before the question: what is promised later asks for itself, and counts this one.
    await refuseWithoutRoom(promised, bytes, isKnown)
    return taken.move()
  }

  async function takeSlot(keyId: string, bytes: number, isKnown: boolean): Promise<Disposable> {
    refuseWithoutSlot(keyId)
    using taken = new DisposableStack()
    taken.use(slots.tryAcquire(keyId))
    taken.use(await takeRoom(bytes, isKnown))
    return taken.move()
  }

  return {
    mayUpload({ bytes: fixed, most = maxFileSize + OVERHEAD, keyId: ofRequest = ownKey } = {}) {
      return async (request, reply) => {
        const { 'content-length': length } = request.headers
        const bytes = fixed ?? Math.min(Number(length ?? most) || 0, most)
        const isKnown = fixed === undefined && length !== undefined
        const keyId = ofRequest(request)
        refuseWithoutSlot(keyId)
        await refuseWithoutRoom(promised + bytes, bytes, isKnown)
        // Its end has been told already.
        if (reply.raw.destroyed) throw problem('upload_incomplete')
        const slot = new UploadSlot()
        const untilClosed = slot.hold()
        reply.raw.once('close', () => untilClosed[Symbol.dispose]())
        uploadSlots.set(request, slot)
        whenBodyArrives(request.raw, async () => {
          // As a problem: whoever reads the body takes any other error for a fault of what came.
          slot.fill(await takeSlot(keyId, bytes, isKnown).catch((error) => Promise.reject(toProblem(error))))
        })
      }
    },

    watch: () => loop.watch(),
    more: (bytes) => takeRoom(bytes, false),
    take: (bytes, keyId) => takeSlot(keyId, bytes, false),
    list: (keyId, signal) => lists.acquire(keyId, signal),
    close: () => loop.close(),
  }
}

const ownKey = (request: FastifyRequest) => keyOf(request).id

/**
 * Without a queue: those that wait would hold a connection, and their clients come again by
 * themselves.
 */
function uploadSemaphore({ config, keyring }: Pick<AdmissionOptions, 'config' | 'keyring'>): Semaphore {
  const { maxConcurrentUploads: slots } = config
  return semaphore({
    slots,
    share: () => keyShare(slots, { config, keyring }),
    refusal: (why) => busy(why === 'share' ? 'MAX_KEY_SHARE' : 'MAX_CONCURRENT_UPLOADS'),
  })
}

function listSemaphore({ config, keyring }: Pick<AdmissionOptions, 'config' | 'keyring'>): Semaphore {
  const { slots, waiting, ofKey, patience } = LISTS
  return semaphore({
    slots,
    share: () => keyShare(slots, { config, keyring }),
    queue: { length: waiting, ofKey: () => ofKey, patience },
    refusal: () => busy('lists'),
  })
}

/** For how many milliseconds what memory there is is not asked for again: reading it costs as much as a step of an upload. */
const MEMORY_TRUSTED_FOR = 20

/** Bytes of the process, as of a moment ago. 0 where it cannot tell: that takes a file descriptor. */
function memoryGauge(): () => number {
  let [known, knownSince] = [0, Number.NEGATIVE_INFINITY]
  return () => {
    const now = performance.now()
    if (now - knownSince < MEMORY_TRUSTED_FOR) return known
    knownSince = now
    try {
      known = process.memoryUsage.rss()
    } catch {
      known = 0
    }
    return known
  }
}
