import type { MultipartFile } from '@fastify/multipart'
import type { FastifyRequest } from 'fastify'
import { Problem, problem, problemWith } from '../errors.ts'
import { openBody } from './body.ts'
import { type Incoming, OVERHEAD } from './incoming.ts'

/** The part that holds the image. */
const FILE_PART = 'file'

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
  const fields = new Map<string, string>()
  const form = openForm(request, fields, maxFileSize + OVERHEAD)
  const file = await form.nextFile()
  if (file?.fieldname !== FILE_PART) {
    form.leave()
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
  /** Reads no more of it. */
  leave(): void
  /** What any failure while reading means for the client. */
  explain(error: unknown): Problem
}

function openForm(request: FastifyRequest, fields: Map<string, string>, maxBody: number): Form {
  const { raw } = request
  const body = Object.assign(openBody(request, maxBody), { headers: raw.headers })
  // The library reads a request's own stream, of which it wants no more than what every stream has, and the headers.
  const parts = (Object.create(request, { raw: { value: body } }) as FastifyRequest).parts({ limits })
  return {
    isWhole: () => raw.complete,
    leave: () => body.destroy(),

    async nextFile() {
      try {
        for (;;) {
          const { value: part, done } = await parts.next()
          if (done) return undefined
          if (part.type === 'file') return part
          if (!fields.has(part.fieldname)) fields.set(part.fieldname, String(part.value))
        }
      } catch (error) {
        this.leave()
        throw this.explain(error)
      }
    },

    explain(error) {
      if (error instanceof Problem) return error
      if (body.errored instanceof Problem) return body.errored
      const { code = '' } = error as { code?: string }
      return problemWith(REFUSALS[code] ?? 'multipart_malformed', { cause: error })
    },
  }
}

async function* readFile(form: Form, { file }: MultipartFile): AsyncGenerator<Buffer> {
  try {
    yield* file
    if (await form.nextFile()) throw problem('too_many_files')
    if (!form.isWhole()) throw problem('upload_incomplete')
  } catch (error) {
    throw form.explain(error)
  } finally {
    form.leave()
  }
}
