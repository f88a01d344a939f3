import { Worker } from 'node:worker_threads'

/** As many as there are threads for all other calls. What they do is to wait for the disk. */
const MOST_THREADS = 4
/** Milliseconds for which nothing is tried again after a thread could not be started, or ended. */
const RECOVERY = 10_000

export interface SmallFile {
  /** Where to write it; must not be there yet. */
  readonly temp: string
  /** What to name it, when its bytes are on the disk. */
  readonly target: string
  /** Passed without a copy if they are in shared memory. */
  readonly bytes: Uint8Array
}

/**
 * Threads that put a small file in its place: make it, write it, sync it, close it, give it its name and take the first one away. Each of
 * these six calls would else go to another thread and back by itself, which takes longer than the call.
 */
export interface DiskThreads {
  /**
   * Resolves with whether the file has its name: if not, it is still in `temp`, whole and durable. Rejects with the call's own error, and
   * then has left nothing; or with `ThreadGone`, when nobody knows.
   */
  place(file: SmallFile): Promise<boolean>
  /** Whether there is a thread to ask, or one can be tried to start. */
  areUsable(): boolean
  /** Ends them; idempotent. */
  close(): Promise<void>
}

export class ThreadGone extends Error {
  override name = 'ThreadGone'
}

/** No thread is started before there is something to do, and no more than can be busy. */
export function diskThreads(): DiskThreads {
  const threads = new Set<Thread>()
  let goneUntil = 0

  /** The one with the least to do; another one, if all have something. */
  function pick(): Thread {
    let least: Thread | undefined
    for (const thread of threads) if (least === undefined || thread.jobs < least.jobs) least = thread
    if (least !== undefined && (least.jobs === 0 || threads.size === MOST_THREADS)) return least
    const thread = startThread(() => {
      threads.delete(thread)
      goneUntil = performance.now() + RECOVERY
    })
    threads.add(thread)
    return thread
  }

  return {
    place: (file) => pick().place(file),
    areUsable: () => performance.now() >= goneUntil,
    async close() {
      await Promise.all(Array.from(threads, (thread) => thread.close()))
    },
  }
}

interface Thread {
  /** Under way, or waiting. */
  readonly jobs: number
  place(file: SmallFile): Promise<boolean>
  close(): Promise<void>
}

interface Answer {
  readonly id: number
  readonly isNamed: boolean
  readonly failure?: { readonly message: string }
}

function startThread(onGone: () => void): Thread {
  const worker = new Worker(new URL('disk-thread.mjs', import.meta.url), {
    // Nothing that is kept for longer than a job.
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 },
    execArgv: [],
  })
  const waiting = new Map<number, PromiseWithResolvers<boolean>>()
  let last = 0
  let cause: unknown

  worker.on('message', ({ id, isNamed, failure }: Answer) => {
    const job = waiting.get(id)
    waiting.delete(id)
    // What is idle keeps no process alive.
    if (waiting.size === 0) worker.unref()
    if (failure === undefined) job?.resolve(isNamed)
    else job?.reject(Object.assign(new Error(failure.message), failure))
  })
  worker.on('error', (error) => {
    cause = error
  })
  worker.on('exit', () => {
    onGone()
    for (const job of waiting.values())
      job.reject(new ThreadGone('a thread for the disk has ended', { cause }))
    waiting.clear()
  })

  return {
    get jobs() {
      return waiting.size
    },
    place(file) {
      const job = Promise.withResolvers<boolean>()
      last += 1
      waiting.set(last, job)
      if (waiting.size === 1) worker.ref()
      worker.postMessage({ id: last, ...file })
      return job.promise
    },
    async close() {
      await worker.terminate()
    },
  }
}
