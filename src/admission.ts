import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import type { Config } from './config.ts'
import { problem, problemWith } from './errors.ts'
import { OVERHEAD } from './intake/incoming.ts'
import { type LoopDelay, watchLoop } from './loop-delay.ts'
import type { Spool } from './spool.ts'
import { StorageFull, storeFailure } from './store/store.ts'
import { turns } from './turns.ts'

/** How late the event loop may be, in milliseconds, before uploads are refused. */
const MOST_DELAY = 600
/** Uploads that are let in however much memory there is: it is given back only where something goes on. */
const ALWAYS = 4

export interface AdmissionOptions {
  readonly config: Pick<Config, 'maxConcurrentUploads' | 'maxMemory' | 'maxFileSize' | 'minFreeSpace'>
  readonly spool: Pick<Spool, 'headroom'>
  readonly loop?: LoopDelay
}

/** Keeps the server from taking on more than it can do: who comes beyond it is told to come again, before a body is read. */
export interface Admission {
  /**
   * An `onRequest` hook for a way in, to be the last of its hooks. `bytes` is what it may put on the disk, if that is not what the
   * body's length says, and `most` the limit of that, if it is not one image. Rejects with `server_busy`, or with `StorageFull` where there is no room even for this upload alone.
   */
  mayUpload(options?: { bytes?: number; most?: number }): onRequestAsyncHookHandler

  /**
   * Takes so many more bytes of the free space for a request that has its place; to be disposed of. Rejects with `server_busy` if there
   * are too few, and with `StorageFull` if there are none.
   */
  more(bytes: number): Promise<Disposable>

  /** Takes a place for what is to be put on the disk without an upload's request; to be disposed of. Rejects as `mayUpload` does. */
  take(bytes: number): Promise<Disposable>

  /**
   * Resolves when it is the turn of one more list of this key; to be disposed of when it has been read. Rejects with `server_busy` if too
   * many wait, or for too long, and with the signal's reason.
   */
  list(keyId: string, signal: AbortSignal): Promise<Disposable>

  /** Stops watching. */
  close(): void
}

/** What an upload holds: one of the places, and so many bytes of the free space. It is free, once, when all who hold it have let go. */
class Place {
  #holders = new Set<object>()
  #free: () => void
  #isFree = false

  constructor(free: () => void) {
    this.#free = free
  }

  hold(): Disposable {
    const holder = {}
    // Whoever comes when it has been given up holds nothing.
    if (!this.#isFree) this.#holders.add(holder)
    return {
      [Symbol.dispose]: () => {
        if (!this.#holders.delete(holder) || this.#holders.size > 0) return
        this.#isFree = true
        this.#free()
      },
    }
  }
}

interface Taken {
  readonly place: Place
  readonly first: Disposable
}

const places = new WeakMap<FastifyRequest, Place>()

/**
 * Keeps an upload's place, which is else given up when its client leaves, until this is disposed of: for whoever still has bytes of it
 * on the disk then.
 */
export function holdPlace(request: FastifyRequest): Disposable {
  return places.get(request)?.hold() ?? { [Symbol.dispose]: () => {} }
}

export function openAdmission({ config, spool, loop = watchLoop() }: AdmissionOptions): Admission {
  const { maxConcurrentUploads: most, maxMemory, maxFileSize, minFreeSpace } = config
  let [uploads, promised] = [0, 0]
  const memory = memoryGauge()

  function refuseBeyondLimits(): void {
    if (most > 0 && uploads >= most) throw busy('places')
    if (loop.mean > MOST_DELAY) throw busy('event loop')
    if (maxMemory > 0 && uploads >= ALWAYS && memory() > maxMemory) throw busy('memory')
  }

  /** Rejects unless all that has been promised up to now, these bytes included, fits on the disk. */
  async function refuseWithoutRoom(bytes: number, isKnown: boolean): Promise<void> {
    // As of before the question: what is promised later asks for itself, and counts this one.
    const wanted = promised
    const room = await spool.headroom().catch((error) => {
      throw storeFailure(error, 'cannot tell how much space is free')
    })
    if (room < bytes && (isKnown || room < 0))
      throw new StorageFull('no space above MIN_FREE_SPACE for this upload')
    if (room < wanted) throw busy('room')
  }

  /** So many bytes of the free space, and the first hold on them, which is let go of if there is no room. */
  async function takeRoom(bytes: number, isKnown: boolean, alsoFree = () => {}): Promise<Taken> {
    promised += bytes
    const place = new Place(() => {
      promised -= bytes
      alsoFree()
    })
    const first = place.hold()
    try {
      if (minFreeSpace > 0) await refuseWithoutRoom(bytes, isKnown)
      return { place, first }
    } catch (error) {
      // At once, though the client may still have to read why.
      first[Symbol.dispose]()
      throw error
    }
  }

  async function takePlace(bytes: number, isKnown: boolean): Promise<Taken> {
    refuseBeyondLimits()
    uploads += 1
    return takeRoom(bytes, isKnown, () => {
      uploads -= 1
    })
  }

  return {
    mayUpload({ bytes: fixed, most: limit = maxFileSize + OVERHEAD } = {}) {
      return async (request, reply) => {
        const { 'content-length': length } = request.headers
        const bytes = fixed ?? Math.min(Number(length ?? limit) || 0, limit)
        const { place, first } = await takePlace(bytes, fixed === undefined && length !== undefined)
        if (reply.raw.destroyed) {
          // Its end has been told already.
          first[Symbol.dispose]()
          throw problem('upload_incomplete')
        }
        reply.raw.once('close', () => first[Symbol.dispose]())
        places.set(request, place)
      }
    },

    more: async (bytes) => (await takeRoom(bytes, false)).first,
    take: async (bytes) => (await takePlace(bytes, false)).first,
    list: turns(),
    close: () => loop.close(),
  }
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

/** The log says of what there is too little. */
const busy = (what: string) => problemWith('server_busy', { cause: new Error(`too busy: ${what}`) })
