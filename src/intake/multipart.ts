import type { IncomingMessage } from 'node:http'
import type { MultipartFile } from '@fastify/multipart'
import type { FastifyRequest } from 'fastify'
import { askForBody } from '../connection.ts'
import { Problem, problem, problemWith } from '../errors.ts'

/** The part that holds the image. */
const FILE_PART = 'file'

/** Bytes that a body may have besides the file: boundaries, part headers and fields. */
const OVERHEAD = 64 * 1024

/** Limits on all but the file's size, which `stage` counts. One file more than is taken, so that it is seen. */
const limits = {
  fileSize: Number.POSITIVE_INFINITY,
  files: 2,
  fields: 16,
  parts: 20,
  fieldNameSize: 100,
  fieldSize: 1024,
  headerPairs: 32,
}

/** The multipart library's refusals that are not about the form's syntax. */
const REFUSALS: Readonly<Record<string, 'too_many_files' | 'fields_refused'>> = {
  FST_FILES_LIMIT: 'too_many_files',
  FST_FIELDS_LIMIT: 'fields_refused',
  FST_PARTS_LIMIT: 'fields_refused',
  FST_PROTO_VIOLATION: 'fields_refused',
}

/** An upload as `stage` takes it. */
export interface Incoming {
  /** The file's bytes. Ends only when the whole message has arrived and is in order; else fails with a `Problem`. */
  readonly body: AsyncIterable<Buffer>
  /** The form's fields, wherever they stand in it: complete when `body` has ended. */
  readonly fields: ReadonlyMap<string, string>
}

/** An `onRequest` hook that refuses, before it is read, a body that says it is too large for a file of `maxFileSize` bytes. */
export function refuseTooLarge(maxFileSize: number) {
  return async (request: FastifyRequest): Promise<void> => {
    const declared = Number(request.headers['content-length'] ?? 0)
    if (declared > maxFileSize + OVERHEAD) throw problem('file_too_large', { limit: maxFileSize })
  }
}

/**
 * Reads a multipart request up to its file; the rest is read as `body` is. Rejects with a `Problem` if there is no file.
 */
export async function readMultipart(request: FastifyRequest, maxFileSize: number): Promise<Incoming> {
  if (!request.isMultipart()) throw problem('multipart_expected')
  askForBody(request.raw)
  const fields = new Map<string, string>()
  const form = openForm(request, fields, maxFileSize + OVERHEAD)
  const file = await form.nextFile()
  if (file?.fieldname !== FILE_PART) {
    const found = [...fields.keys(), ...(file ? [file.fieldname] : [])]
    throw problem('file_missing', { found: found.slice(0, 5) })
  }
  return { body: readFile(form, file), fields }
}

interface Form {
  /** Reads on to the next file, past the fields before it; undefined at the end of the form. */
  nextFile(): Promise<MultipartFile | undefined>
  /** Whether all of the message has arrived. */
  isWhole(): boolean
  /** Aborted with the `Problem` when the client stalls or sends too much. */
  readonly broken: AbortSignal
  /** What any failure while reading means for the client. */
  explain(error: unknown): Problem
}

function openForm(request: FastifyRequest, fields: Map<string, string>, maxBody: number): Form {
  const { raw } = request
  const parts = request.parts({ limits })
  const broken = new AbortController()
  const breakdown = new Promise<never>((_, reject) => {
    broken.signal.addEventListener('abort', () => reject(broken.signal.reason), { once: true })
  })
  breakdown.catch(() => {})

  let isWatched = false

  /** The parser sees neither silence nor the size of the whole, so both are watched beside it. */
  function watch() {
    isWatched = true
    let received = 0
    raw.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received > maxBody) broken.abort(problem('body_too_large'))
    })
    raw.once('timeout', () => broken.abort(problem('upload_stalled')))
  }

  return {
    broken: broken.signal,

    isWhole: () => raw.complete,

    async nextFile() {
      try {
        for (;;) {
          const next = parts.next()
          // Only now does the parser listen: a listener before it would take the first bytes away.
          if (!isWatched) watch()
          const { value: part, done } = await Promise.race([next, breakdown])
          if (done) return undefined
          if (part.type === 'file') return part
          if (!fields.has(part.fieldname)) fields.set(part.fieldname, String(part.value))
        }
      } catch (error) {
        throw this.explain(error)
      }
    },

    explain(error) {
      if (error instanceof Problem) return error
      if (broken.signal.aborted) return broken.signal.reason
      if (wasCutOff(raw)) return problem('upload_incomplete')
      const { code = '' } = error as { code?: string }
      return problemWith(REFUSALS[code] ?? 'multipart_malformed', { cause: error })
    },
  }
}

async function* readFile(form: Form, { file }: MultipartFile): AsyncGenerator<Buffer> {
  const stop = () => file.destroy(form.broken.reason)
  form.broken.addEventListener('abort', stop, { once: true })
  try {
    yield* file
    if (await form.nextFile()) throw problem('too_many_files')
    if (!form.isWhole()) throw problem('upload_incomplete')
  } catch (error) {
    throw form.explain(error)
  } finally {
    form.broken.removeEventListener('abort', stop)
  }
}

function wasCutOff(raw: IncomingMessage): boolean {
  return raw.destroyed && !raw.complete
}
