import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import type { Config } from './config.ts'
import { problem } from './errors.ts'
import { OVERHEAD } from './intake/incoming.ts'
import type { Spool } from './spool.ts'
import { StorageFull, storeFailure } from './store/store.ts'

/** How late the event loop may be on average, in milliseconds, before uploads are refused. */
const MOST_DELAY = 1000

/** Over how many milliseconds: one stall alone, as by a collection of garbage, is none. */
const DELAY_WINDOW = 4000

/** Lists that are read at once, as each reads the names of all images, and that wait for their turn. */
const MOST_LISTS = 4
const MOST_WAITING = 64

export interface AdmissionOptions {
  readonly config: Pick<Config, 'maxConcurrentUploads' | 'maxMemory' | 'maxFileSize' | 'minFreeSpace'>
  readonly spool: Pick<Spool, 'headroom'>
}

/** Keeps the server from taking on more than it can do: who comes beyond it is told to come again, before a body is read. */
export interface Admission {
  /**
   * An `onRequest` hook for a way in, to be the last of its hooks. `bytes` is the most that it may put on the disk, if that is not what the
   * body's length says. Rejects with `server_busy`, or with `StorageFull` where there is no room even for this upload alone.
   */
  mayUpload(options?: { bytes: number }): onRequestAsyncHookHandler

  /**
   * Resolves when it is the turn of one more list; to be disposed of when it has been read. Rejects with `server_busy` if too many wait,
   * and with the signal's reason.
   */
  list(signal: AbortSignal): Promise<Disposable>
}

/** What an upload holds: one of the places, and so many bytes of the free space. It is free when all who hold it have let go. */
class Place {
  #holders = new Set<object>()
  #free: () => void

  constructor(free: () => void) {
    this.#free = free
  }

  hold(): Disposable {
    const holder = {}
    this.#holders.add(holder)
    return {
      [Symbol.dispose]: () => {
        if (this.#holders.delete(holder) && this.#holders.size === 0) this.#free()
      },
    }
  }
}

const places = new WeakMap<FastifyRequest, Place>()

/**
 * Keeps an upload's place, which is else given up when its client leaves, until this is disposed of: for whoever still has bytes of it
 * on the disk then.
 */
export function holdPlace(request: FastifyRequest): Disposable {
  return places.get(request)?.hold() ?? { [Symbol.dispose]: () => {} }
}

/** Opens the doors of this part of the app. */
export async function admission(
  app: FastifyInstance,
  { config, spool }: AdmissionOptions,
): Promise<Admission> {
  const { maxConcurrentUploads: most, maxMemory, maxFileSize, minFreeSpace } = config
  // It measures alone: what it would refuse by itself are all requests of this part, and not the uploads only.
  await app.register(underPressure, {
    maxEventLoopDelay: MOST_DELAY,
    sampleInterval: DELAY_WINDOW,
    maxRssBytes: maxMemory,
    pressureHandler: () => {},
  })
  let [uploads, promised] = [0, 0]

  /** Rejects unless all that has been promised up to now, this upload's bytes included, fits on the disk. */
  async function refuseWithoutRoom(bytes: number): Promise<void> {
    // As of before the question: what is promised later asks for itself, and counts this one.
    const wanted = promised
    const room = await spool.headroom().catch((error) => {
      throw storeFailure(error, 'cannot tell how much space is free')
    })
    if (room < bytes) throw new StorageFull('no space above MIN_FREE_SPACE for this upload')
    if (room < wanted) throw problem('server_busy')
  }

  return {
    mayUpload(options) {
      return async (request, reply) => {
        if (app.isUnderPressure() || (most > 0 && uploads >= most)) throw problem('server_busy')
        // Its end has been told already.
        if (reply.raw.destroyed) throw problem('upload_incomplete')
        const limit = maxFileSize + OVERHEAD
        const bytes =
          options?.bytes ?? Math.min(Number(request.headers['content-length'] ?? limit) || 0, limit)
        uploads += 1
        promised += bytes
        const place = new Place(() => {
          uploads -= 1
          promised -= bytes
        })
        const client = place.hold()
        reply.raw.once('close', () => client[Symbol.dispose]())
        try {
          if (minFreeSpace > 0) await refuseWithoutRoom(bytes)
          places.set(request, place)
        } catch (error) {
          // At once, though the client may still have to read why.
          client[Symbol.dispose]()
          throw error
        }
      }
    },

    list: turns(),
  }
}

/** Lets few go on at once, and the others when it is their turn. */
function turns(): Admission['list'] {
  const waiting = new Set<() => void>()
  let running = 0
  const turn = {
    [Symbol.dispose]: () => {
      const [next] = waiting
      // Handed on, so that nobody else can come between.
      if (next === undefined) running -= 1
      else next()
    },
  }

  return async (signal) => {
    signal.throwIfAborted()
    if (running >= MOST_LISTS) {
      if (waiting.size >= MOST_WAITING) throw problem('server_busy')
      await new Promise<void>((resolve, reject) => {
        const go = () => {
          waiting.delete(go)
          resolve()
        }
        waiting.add(go)
        signal.addEventListener('abort', () => waiting.delete(go) && reject(signal.reason), { once: true })
      })
    } else running += 1
    return turn
  }
}
