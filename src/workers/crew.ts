import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ConfigError } from '../config.ts'
import type { FromWorker, ToWorker } from './messages.ts'

/** Milliseconds after which a worker is replaced: doubled with each in a row that did not live long, from the first to the last. */
const PAUSE = 200
const LONGEST_PAUSE = 30_000
/** Milliseconds of service after which a worker's end says nothing about the next one's. */
const LONG = 10_000

export type Worker = ChildProcess

export interface CrewOptions {
  readonly count: number
  /** Variables of theirs, besides those that this process has. */
  readonly env: Readonly<Record<string, string>>
  readonly log: Logger
  /**
   * Told of each worker when it begins to start. It has to read the worker's standard output and
   * standard error.
   */
  readonly onStart: (worker: Worker) => void
  /** Told of each message but those that the crew itself understands. */
  readonly onMessage: (worker: Worker, message: FromWorker) => void
  /** Told when a worker serves. */
  readonly onUp: (worker: Worker) => void
  /** Told when a worker has ended. */
  readonly onEnd: (worker: Worker) => void
}

/** `count` workers, and another for each that ends. */
export class Crew {
  /** Where they serve. */
  url = ''
  #options: CrewOptions
  #workers = new Set<Worker>()
  /** Those that serve, and since when. */
  #serving = new Map<Worker, number>()
  #started = Promise.withResolvers<void>()
  #retries = new Set<NodeJS.Timeout>()
  #phase: 'starting' | 'serving' | 'stopping' = 'starting'
  #shortLives = 0

  constructor(options: CrewOptions) {
    this.#options = options
  }

  /** Resolves when all serve. Rejects with what to do if one of them cannot start: a start goes well or not at all. */
  async start(): Promise<this> {
    // However this process comes to its end, if it can still do anything then.
    process.once('exit', () => {
      for (const worker of this.#workers) worker.kill('SIGKILL')
    })
    for (let i = 0; i < this.#options.count; i += 1) this.#hire()
    await this.#started.promise
    return this
  }

  /** Tells all to stop, and resolves when they have ended. Rejects, then, if one of them did not end in order. */
  async stop(): Promise<void> {
    this.#phase = 'stopping'
    for (const retry of this.#retries) clearTimeout(retry)
    const ends = await Promise.all([...this.#workers].map(endOf))
    if (ends.some(({ code }) => code !== 0)) throw new Error('a worker did not end in order')
  }

  #hire(): void {
    const worker = fork(join(import.meta.dirname, 'worker.ts'), {
      env: { ...process.env, ...this.#options.env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#workers.add(worker)
    this.#options.onStart(worker)
    let reason: string | undefined
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'failed') reason = message.reason
      else if (message.type === 'up') this.#arrived(worker, message.url)
      else this.#options.onMessage(worker, message)
    })
    // It could not be started, or be told something, which its end tells as well.
    worker.on('error', (error) => {
      reason ??= error.message
      if (worker.pid === undefined) this.#gone(worker, { code: null, signal: null, reason })
    })
    worker.once('exit', (code, signal) => this.#gone(worker, { code, signal, ...(reason && { reason }) }))
  }

  #arrived(worker: Worker, url: string): void {
    this.#serving.set(worker, performance.now())
    this.#options.onUp(worker)
    if (this.#phase !== 'starting' || this.#serving.size < this.#options.count) return
    this.#phase = 'serving'
    this.url = url
    this.#started.resolve()
  }

  #gone(worker: Worker, end: End): void {
    const since = this.#serving.get(worker)
    this.#workers.delete(worker)
    this.#serving.delete(worker)
    this.#options.onEnd(worker)
    if (this.#phase === 'starting')
      this.#started.reject(
        new ConfigError(end.reason ?? `A worker has ended with ${end.signal ?? end.code}.`),
      )
    if (this.#phase !== 'serving') return
    this.#options.log.error({ worker: worker.pid, ...end }, 'a worker has ended, another comes')
    this.#shortLives = since !== undefined && performance.now() - since > LONG ? 0 : this.#shortLives + 1
    this.#replace(Math.min(LONGEST_PAUSE, PAUSE * 2 ** this.#shortLives))
  }

  /** Not at once: what ends a worker may be a signal that the primary has not got yet. */
  #replace(pause: number): void {
    const retry = setTimeout(() => {
      this.#retries.delete(retry)
      this.#hire()
    }, pause)
    this.#retries.add(retry)
  }
}

interface End {
  readonly code: number | null
  readonly signal: string | null
  /** What it said itself. */
  readonly reason?: string
}

/** Tells a worker to stop, and resolves when it has, and its last line is read. */
function endOf(worker: Worker): Promise<End> {
  return new Promise((resolve) => {
    worker.once('close', (code, signal) => resolve({ code, signal }))
    send(worker, { type: 'stop' })
  })
}

/** A worker that is about to end takes no message any more, and needs none. */
export function send(worker: Worker, message: ToWorker): void {
  if (worker.connected) worker.send(message, () => {})
}
