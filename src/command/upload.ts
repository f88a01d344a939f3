import { setTimeout as sleep } from 'node:timers/promises'
import { CommandLineError } from '../command-line.ts'
import { because } from '../doctor/ask.ts'
import { type Stopping, stopOnSignals } from './signals.ts'
import { type Facts, factsIn } from './upload/answer.ts'
import { exchange, IN_ONE_GO } from './upload/exchange.ts'
import { plain, UploadFailed, waitBefore } from './upload/failure.ts'
import { formOf } from './upload/form.ts'
import { noProgress, type Progress, progressOn } from './upload/progress.ts'
import { openSource, type Source } from './upload/source.ts'
import { type Target, type TargetOptions, targetOf } from './upload/target.ts'

/** Failures of a connection that was there, and may be there again. */
const BROKEN = ['ECONNRESET', 'EPIPE', 'ETIMEDOUT']

export interface UploadOptions extends TargetOptions {
  readonly json?: boolean
  /** Times to try again. */
  readonly retries: number
  /** Whether to show a bar, where there is a terminal. */
  readonly progress: boolean
}

interface Run extends Pick<UploadOptions, 'json' | 'retries'> {
  readonly hasBars: boolean
  readonly target: Target
  readonly signal: AbortSignal
}

/** `layover upload`: one file after the other. Resolves with the exit code. */
export async function upload(files: readonly string[], options: UploadOptions): Promise<number> {
  if (files.filter((file) => file === '-').length > 1)
    throw new CommandLineError('- can be given once: standard input cannot be read twice')
  const target = await targetOf(options)
  using stopping = stopOnSignals()
  const hasBars = options.progress && process.stderr.isTTY && process.env.TERM !== 'dumb'
  const run = { ...options, hasBars, target, signal: stopping.signal }
  try {
    const isWhole = await uploadAll(files, run, stopping)
    return stopping.exitCode ?? (isWhole ? 0 : 1)
  } finally {
    target.agent.destroy()
  }
}

/** Resolves with whether all are stored, and their URLs printed. */
async function uploadAll(files: readonly string[], run: Run, stopping: Stopping): Promise<boolean> {
  let isWhole = true
  // Whoever reads has gone, and nobody would learn of what is still to come.
  process.stdout.on('error', () => {
    isWhole = false
    stopping.stop()
  })
  for (const [index, file] of files.entries()) {
    try {
      const facts = await uploadFile(file, run)
      process.stdout.write(run.json ? `${JSON.stringify({ file, ...facts })}\n` : `${facts.url}\n`)
    } catch (error) {
      if (run.signal.aborted) return false
      if (!(error instanceof UploadFailed)) throw error
      isWhole = false
      const left = files.length - index - 1
      const rest = error.isForAll && left > 0 ? ` (not tried: ${left} more)` : ''
      note(`${file}: ${error.message}${rest}`)
      if (error.isForAll) return false
    }
  }
  return isWhole
}

async function uploadFile(file: string, run: Run): Promise<Facts> {
  await using source = await openSource(file)
  const { name, size } = source
  const progress = run.hasBars ? progressOn(process.stderr, name, size) : noProgress
  try {
    const facts = await uploadSource(source, { ...run, file, progress })
    progress.done()
    return facts
  } catch (error) {
    progress.clear()
    throw error
  }
}

/** Tries until it is stored, or another try is of no use. */
async function uploadSource(source: Source, run: Run & { file: string; progress: Progress }): Promise<Facts> {
  for (let tried = 0; ; tried += 1) {
    try {
      return await attempt(source, run)
    } catch (error) {
      if (!(error instanceof UploadFailed) || error.retryAfter === undefined) throw error
      const wait = waitBefore({ tried, retryAfter: error.retryAfter })
      if (tried >= run.retries || wait === undefined || !source.isReadable()) throw error
      run.progress.clear()
      note(`${run.file}: ${error.message} (trying again in ${wait} s)`)
      await sleep(wait * 1000, undefined, { signal: run.signal })
      run.progress.again()
    }
  }
}

async function attempt(
  source: Source,
  { target, signal, progress }: Run & { progress: Progress },
): Promise<Facts> {
  const form = formOf(source)
  const { length = Number.POSITIVE_INFINITY } = form
  const headers = {
    authorization: `Bearer ${target.key}`,
    'content-type': form.contentType,
    'user-agent': 'layover',
    ...(form.length !== undefined && { 'content-length': form.length }),
    ...(length > IN_ONE_GO && { expect: '100-continue' }),
  }
  const body = () => form.bytes(progress.sent)
  try {
    return factsIn(await exchange({ ...target, headers, body, signal }))
  } catch (error) {
    if (error instanceof UploadFailed || signal.aborted) throw error
    throw noAnswer(error, target.url)
  }
}

/** A connection that cannot be had is no better for the next file. */
function noAnswer(error: unknown, { origin }: URL): UploadFailed {
  const { code = '' } = error as NodeJS.ErrnoException
  const isBroken = BROKEN.includes(code)
  return new UploadFailed(`${origin} ${because(error)}`, {
    isForAll: !isBroken,
    retryAfter: isBroken ? 0 : undefined,
  })
}

function note(text: string): void {
  process.stderr.write(`${plain(text)}\n`)
}
