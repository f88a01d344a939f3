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
 * Threads that do several calls in one go: each of these would else go to another thread and back by itself, which takes longer than the call.
 * Both reject with the call's own error, or with `ThreadGone` when nobody knows how far it has come.
 */
export interface DiskThreads {
  /**
   * Puts a small file in its place: makes it, writes it, syncs it, closes it, gives it its name and takes the first one away. Resolves with
   * whether it has its name: if not, it is still in `temp`, whole and durable. When it rejects, it has left nothing.
   */
  place(file: SmallFile): Promise<boolean>
  /** Does what `syncFolder` of `folder-sync.ts` does. */
  syncFolder(path: string): Promise<string>
  /** Whether there is a thread to ask, or one can be tried to start. */
  areUsable(): boolean
  /** Ends them when they have done what they were asked; idempotent. */
  close(): Promise<void>
}

export class ThreadGone extends Error {
  override name = 'ThreadGone'
}

/** `script` is what a thread runs. No thread is started before there is something to do, and no more than can be busy. */
export function diskThreads(script = new URL('disk-thread.mjs', import.meta.url)): DiskThreads {
  const threads = new Set<Thread>()
  /** Until when no other is started, and none is asked. */
  let noneUntil = 0
  let goneUntil = 0
  let isClosed = false

  /** The one with the least to do; another one, if all have something and there can be one. */
  function pick(): Thread {
    let least: Thread | undefined
    for (const thread of threads) if (least === undefined || thread.jobs < least.jobs) least = thread
    const mayStart = threads.size < MOST_THREADS && performance.now() >= noneUntil
    if (least !== undefined && (least.jobs === 0 || !mayStart)) return least
    try {
      const thread = startThread(script, () => {
        threads.delete(thread)
        goneUntil = performance.now() + RECOVERY
      })
      threads.add(thread)
      return thread
    } catch (cause) {
      // The system gives this user no more of them.
      noneUntil = performance.now() + RECOVERY
      if (least !== undefined) return least
      goneUntil = noneUntil
      throw new ThreadGone('no thread for the disk can be started', { cause })
    }
  }

  return {
    place: async (file) => (await pick().ask({ file })) as boolean,
    syncFolder: async (folder) => (await pick().ask({ folder })) as string,
    areUsable: () => !isClosed && performance.now() >= goneUntil,
    async close() {
      isClosed = true
      await Promise.all(Array.from(threads, (thread) => thread.close()))
    },
  }
}

/** What a thread is asked: one of the two. */
export interface Job {
  readonly id: number
  readonly file?: SmallFile
  readonly folder?: string
}

interface Answer {
  readonly id: number
  readonly value: boolean | string
  readonly failure?: { readonly message: string }
}

interface Thread {
  /** Under way, or waiting. */
  readonly jobs: number
  ask(job: Omit<Job, 'id'>): Promise<Answer['value']>
  close(): Promise<void>
}

function startThread(script: URL, onGone: () => void): Thread {
  const worker = new Worker(script, {
    // Nothing that is kept for longer than a job.
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 },
    execArgv: [],
  })
  const waiting = new Map<number, PromiseWithResolvers<Answer['value']>>()
  let unsent: Job[] = []
  let last = 0
  let cause: unknown

  /** Together, what has come up in one turn of the event loop: to send a message takes longer than most jobs. */
  function send(): void {
    worker.postMessage(unsent)
    unsent = []
  }

  function take({ id, value, failure }: Answer): void {
    const job = waiting.get(id)
    waiting.delete(id)
    if (failure === undefined) job?.resolve(value)
    else job?.reject(Object.assign(new Error(failure.message), failure))
  }

  worker.on('message', (answers: Answer[]) => {
    for (const answer of answers) take(answer)
    // What is idle keeps no process alive.
    if (waiting.size === 0) worker.unref()
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
    ask(job) {
      const answer = Promise.withResolvers<Answer['value']>()
      last += 1
      waiting.set(last, answer)
      if (waiting.size === 1) worker.ref()
      if (unsent.length === 0) setImmediate(send)
      unsent.push({ id: last, ...job })
      return answer.promise
    },
    async close() {
      await Promise.allSettled(Array.from(waiting.values(), ({ promise }) => promise))
      await worker.terminate()
    },
  }
}
