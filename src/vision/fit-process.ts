import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Problem, problemWith } from '../errors.ts'
import type { Spool } from '../spool.ts'
import { type Staged, stage } from '../stage.ts'
import { StoreError } from '../store/store.ts'
import { EXITS, type Job } from './fit-job.ts'

const WORKER = join(import.meta.dirname, 'fit-worker.mjs')

/** What Node itself takes, in bytes, before the library has done anything: two thirds of this. */
const OF_NODE = 96 * 1024 ** 2

/**
 * Limits that hold whatever the library does: bytes of memory it can write to, seconds of a processor, no files, no core dumps. What a system
 * does not know is passed over.
 */
const LIMITED =
  'ulimit -c 0; ulimit -f 0 2>/dev/null; ulimit -d "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@"'

/** All that a worker's environment has. The library would put large pictures into files, and take a core for each thread. */
const ENVIRONMENT = {
  VIPS_DISC_THRESHOLD: '100g',
  VIPS_CONCURRENCY: '1',
  VIPS_BLOCK_UNTRUSTED: '1',
  MALLOC_ARENA_MAX: '2',
  UV_THREADPOOL_SIZE: '1',
}

export interface RunOptions {
  /** Seconds. */
  readonly timeout: number
  /** Bytes. */
  readonly memory: number
  readonly spool: Spool
  readonly digest: 'md5' | undefined
  readonly signal: AbortSignal
}

type Worker = ChildProcessByStdio<Writable, Readable, Readable>

/**
 * Has one copy made by a process of its own, and stages it like any upload: what it sends is not believed to be an image. Rejects with
 * `fit_failed` and why, with `fit_unavailable` or `fit_busy` for what is not the image's fault, with a `StoreError`, or with the signal's reason. When it settles, the process has ended.
 */
export async function runFitWorker(job: Job, image: Staged, options: RunOptions): Promise<Staged> {
  const { spool, digest, signal } = options
  signal.throwIfAborted()
  const worker = start(job, options)
  const ended = once(worker, 'close') as Promise<[number | null]>
  ended.catch(() => {})
  // There is no room for another process, or for its pipes, which are not there then.
  if (worker.pid === undefined)
    throw problemWith('fit_busy', { limit: 'processes', cause: await ended.catch((error) => error) })
  const timer = setTimeout(() => worker.kill('SIGKILL'), options.timeout * 1000)
  const leave = () => worker.kill('SIGKILL')
  signal.addEventListener('abort', leave, { once: true })
  let complaint = ''
  worker.stderr.on('data', (bytes) => {
    complaint = (complaint + bytes).slice(0, 2000)
  })
  // One that ends before it has read all says why with its exit code.
  pipeline(image.open(), worker.stdin).catch(() => {})
  const limits = { maxFileSize: job.maxBytes, maxPixels: job.maxPixels }
  try {
    return await stage(bytesOf(worker, ended), { spool, digest, ...limits })
  } catch (error) {
    worker.kill('SIGKILL')
    const [code] = await ended.catch(() => [null] as const)
    signal.throwIfAborted()
    if (error instanceof StoreError) throw error
    const cause = new Error(`the worker ended with ${code ?? worker.signalCode}: ${complaint}`, {
      cause: error,
    })
    throw explain(code, cause)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', leave)
  }
}

function start(job: Job, { timeout, memory }: RunOptions): Worker {
  // Without a compiler, no memory of it can be both written and run, and what it reserves for one does not count as used.
  const node = [process.execPath, '--jitless', '--max-old-space-size=64', WORKER]
  const most = memory + OF_NODE
  const kilobytes = Math.ceil(most / 1024)
  const limits = [String(kilobytes), String(Math.ceil(timeout))]
  const args = ['-c', LIMITED, 'sh', ...limits, ...node, JSON.stringify(job), String(most)]
  return spawn('/bin/sh', args, { env: ENVIRONMENT, cwd: '/', stdio: ['pipe', 'pipe', 'pipe'] })
}

/** What a worker sends; fails where it does not end well, so that half a copy is none. */
async function* bytesOf(worker: Worker, ended: Promise<[number | null]>): AsyncGenerator<Buffer> {
  yield* worker.stdout
  const [code] = await ended
  if (code !== EXITS.done) throw new Error('the worker failed')
}

function explain(code: number | null, cause: Error): Problem {
  if (code !== EXITS.library) return problemWith('fit_failed', { cause }, { reason: reasonOf(code) })
  return problemWith('fit_unavailable', { cause }, { reason: 'the library for it cannot be loaded' })
}

function reasonOf(code: number | null): string {
  if (code === EXITS.damaged) return 'it cannot be decoded, or has too many pixels'
  if (code === EXITS.tooLarge) return 'no size of it is small enough'
  if (code === EXITS.memory) return 'it takes too much memory'
  return 'it takes too much time or memory'
}
