import { holdPlace } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { type ErrorCode, Problem } from '../errors.ts'
import type { IncomingFiles } from '../intake/multipart.ts'
import { readOptions } from '../intake/options.ts'
import { keyOf } from '../keys.ts'
import { quotaOf } from '../limits.ts'
import { type PublishOptions, type Put, put } from '../publish.ts'
import { type Staged, stage } from '../stage.ts'
import type { Deps } from './deps.ts'
import { clientGone, type Upload, type Uploaded } from './take-upload.ts'

/** What has come of one file: the image, or why it is none. */
export type Outcome = Uploaded | Problem

/** What is wrong with one file and need not concern the others. */
const OF_ONE_FILE: ReadonlySet<ErrorCode> = new Set([
  'file_empty',
  'file_too_large',
  'format_unsupported',
  'image_invalid',
  'image_dimensions',
  'file_over_quota',
  'quota_exceeded',
])

/**
 * Stages all files of a form, one after the other, and makes them public when the form is known to be whole, in the order in which they
 * came. What is wrong with one file is its outcome. Rejects with what is wrong with the request or the server, and then has left nothing of any
 * file.
 */
export async function takeUploads(
  {
    request,
    reply,
    incoming,
    translate,
  }: Pick<Upload, 'request' | 'reply' | 'translate'> & { incoming: IncomingFiles },
  { config, store, spool, usage, secret, now, headers }: Deps,
): Promise<Outcome[]> {
  using _place = holdPlace(request)
  const signal = clientGone(reply)
  const { maxFileSize, maxPixels } = config
  await using kept = new AsyncDisposableStack()
  const files: (Staged | Problem)[] = []
  for await (const file of incoming.files) {
    // Memory for one: a form may have many small files, and take its time.
    const onDisk = files.length > 0
    const staging = stage(file, { spool, digest: store.digest, maxFileSize, maxPixels, onDisk })
    const staged = await staging.catch(ofThisFile)
    files.push(staged instanceof Problem ? staged : kept.use(staged))
  }
  const { lifetime } = readOptions(request, incoming.fields, config, translate)
  const key = keyOf(request)
  const quota = quotaOf(key, config)
  const publishing = publishAll(files, {
    ...{ store, usage, secret, keyId: key.id, lifetime, signal },
    // The first waits until the last is stored.
    quota: { ...quota, hold: quota.hold * Math.max(1, files.length) },
    now: now(),
  })
  const outcomes = await whileClientWaits(request.raw, publishing)
  for (const outcome of outcomes)
    if (!(outcome instanceof Problem)) headers.remember(outcome.name, outcome.header)
  request.taken = outcomes.reduce((sum, outcome) => sum + (outcome instanceof Problem ? 0 : outcome.size), 0)
  return outcomes
}

/** All of them or, if something else fails than a file, none. */
async function publishAll(
  files: readonly (Staged | Problem)[],
  options: PublishOptions & { signal: AbortSignal },
): Promise<Outcome[]> {
  const puts: Put[] = []
  const outcomes: Outcome[] = []
  try {
    for (const file of files) {
      const stored = file instanceof Problem ? file : await put(file, options).catch(ofThisFile)
      if (file instanceof Problem || stored instanceof Problem) outcomes.push(stored as Problem)
      else {
        puts.push(stored)
        outcomes.push({ name: stored.name, size: file.size, header: file.header })
      }
    }
    options.signal.throwIfAborted()
    for (const { keep } of puts) await keep()
    return outcomes
  } catch (error) {
    for (const { undo } of puts) await undo()
    throw error
  }
}

function ofThisFile(error: unknown): Problem {
  if (error instanceof Problem && OF_ONE_FILE.has(error.code)) return error
  throw error
}
