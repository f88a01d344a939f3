import type { FastifyRequest } from 'fastify'
import { type Problem, problem } from '../errors.ts'
import { boundaryOf } from './form.ts'
import { type Incoming, OVERHEAD } from './incoming.ts'
import { type FormLimits, UploadForm } from './upload-form.ts'

/** The part that holds the image. */
const FILE_PART = 'file'

/** How many parts a form with one file may have: more than any client sends. */
const MOST_PARTS = 20

/** How many files one form may bring where several are taken, and how many times the largest they may have together. */
export const MOST_FILES = 20
const MOST_TOGETHER = 5

/** An `onRequest` hook that refuses, before it is read, a body that says it is too large for a file of `maxFileSize` bytes. */
export function refuseTooLarge(maxFileSize: number) {
  return async (request: FastifyRequest): Promise<void> => {
    const declared = Number(request.headers['content-length'] ?? 0)
    if (declared > maxFileSize + OVERHEAD) throw problem('file_too_large', { limit: maxFileSize })
  }
}

/** The same for a body of several files. */
export function refuseTooManyBytes(maxFileSize: number) {
  return async (request: FastifyRequest): Promise<void> => {
    const declared = Number(request.headers['content-length'] ?? 0)
    if (declared > mostBytes(maxFileSize)) throw problem('body_too_large')
  }
}

/** Bytes of the largest body of several files. */
export function mostBytes(maxFileSize: number): number {
  return MOST_TOGETHER * maxFileSize + OVERHEAD
}

/**
 * Reads a multipart request up to its file, in a part named `part`; the rest is read as `body` is. Rejects with a `Problem` if there is no
 * file.
 */
export async function readMultipart(
  request: FastifyRequest,
  maxFileSize: number,
  part = FILE_PART,
): Promise<Incoming> {
  const { body, fields } = await readForm(request, maxFileSize, part)
  if (body === undefined) throw fileMissing([...fields.keys()], part)
  return { body, fields }
}

/** The same, for those who make something of a form without any file: then there is no `body`, and the form has been read to its end. */
export async function readForm(
  request: FastifyRequest,
  maxFileSize: number,
  part = FILE_PART,
): Promise<Pick<Incoming, 'fields'> & Partial<Incoming>> {
  const form = openForm(request, part, { maxBody: maxFileSize + OVERHEAD, mostParts: MOST_PARTS })
  const file = await form.nextFile()
  if (file === part) return { body: form.file(part), fields: form.fields }
  form.leave()
  if (file === undefined) return { fields: form.fields }
  throw fileMissing([...form.fields.keys(), file], part)
}

/** Several files, as they come. */
export interface IncomingFiles {
  /** Each one's bytes, one after the other: when the next is asked for, what is left of the one before is passed over. Ends as `body` of `Incoming`. */
  readonly files: AsyncIterable<AsyncIterable<Buffer>>
  /** Complete when `files` has ended. */
  readonly fields: ReadonlyMap<string, string>
}

/** Reads a multipart request with any number of files up to `MOST_FILES`, in parts of any names. Throws a `Problem`. */
export function readFiles(request: FastifyRequest, maxFileSize: number): IncomingFiles {
  const limits = { maxBody: mostBytes(maxFileSize), mostParts: MOST_FILES + MOST_PARTS }
  const form = openForm(request, FILE_PART, limits)
  return { files: form.files(MOST_FILES), fields: form.fields }
}

/** No file came in the part where it is looked for. */
export function fileMissing(found: readonly string[], part: string): Problem {
  return problem('file_missing', { found: found.slice(0, 5), part })
}

function openForm(request: FastifyRequest, part: string, limits: FormLimits): UploadForm {
  const { 'content-type': contentType = '' } = request.headers
  if (!/^multipart\/form-data *(;|$)/i.test(contentType)) throw problem('multipart_expected', { part })
  const boundary = boundaryOf(contentType)
  if (boundary === undefined) throw problem('multipart_malformed')
  return new UploadForm(request, boundary, limits)
}
