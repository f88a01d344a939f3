import type { FastifyRequest } from 'fastify'
import { Problem, problem, problemWith } from '../errors.ts'
import { openBody } from './body.ts'
import { boundaryOf, FormReader, MalformedForm } from './form.ts'
import { type Incoming, OVERHEAD } from './incoming.ts'

/** The part that holds the image. */
const FILE_PART = 'file'

/** How many parts and fields a form may have, and how much of a field counts: more than any client sends. */
const MOST_PARTS = 20
const MOST_FIELDS = 16
const LONGEST_NAME = 100
/** More than the longest URL that is fetched from, so that none is taken for a shorter one. */
const LONGEST_FIELD = 2100

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
  return { files: form.files(), fields: form.fields }
}

/** No file came in the part where it is looked for. */
export function fileMissing(found: readonly string[], part: string): Problem {
  return problem('file_missing', { found: found.slice(0, 5), part })
}

interface FormLimits {
  /** Bytes. */
  readonly maxBody: number
  readonly mostParts: number
}

function openForm(request: FastifyRequest, part: string, limits: FormLimits): Form {
  const { 'content-type': contentType = '' } = request.headers
  if (!/^multipart\/form-data *(;|$)/i.test(contentType)) throw problem('multipart_expected', { part })
  const boundary = boundaryOf(contentType)
  if (boundary === undefined) throw problem('multipart_malformed')
  return new Form(request, boundary, limits)
}

/** A form with files and some fields, in any order. */
class Form {
  /** As far as it has been read. */
  readonly fields = new Map<string, string>()
  #raw: FastifyRequest['raw']
  #body: ReturnType<typeof openBody>
  #reader: FormReader
  #mostParts: number
  #parts = 0
  #fields = 0

  constructor({ raw, server }: FastifyRequest, boundary: string, { maxBody, mostParts }: FormLimits) {
    this.#raw = raw
    this.#mostParts = mostParts
    this.#body = openBody({ raw, server }, maxBody)
    this.#reader = new FormReader(this.#body, boundary)
  }

  /** Reads on to the next file, past the fields before it. Its part's name; undefined at the end of the form. */
  async nextFile(): Promise<string | undefined> {
    try {
      for (;;) {
        const part = await this.#reader.nextPart()
        if (part === undefined) return undefined
        this.#parts += 1
        if (this.#parts > this.#mostParts || part.name in Object.prototype) throw problem('fields_refused')
        if (part.name === '') continue
        const name = part.name.slice(0, LONGEST_NAME)
        if (part.isFile) return name
        await this.#readField(name)
      }
    } catch (error) {
      if (error instanceof MalformedForm && this.#reader.received === 0) return undefined
      this.leave()
      throw explained(error)
    }
  }

  /** The current part's bytes, then the fields behind it. Ends only if nothing else came, and the whole message did. */
  async *file(part: string): AsyncGenerator<Buffer> {
    try {
      yield* this.#reader.content()
      if ((await this.nextFile()) !== undefined) throw problem('too_many_files', { limit: 1, part })
      if (!this.#raw.complete) throw problem('upload_incomplete')
    } catch (error) {
      throw explained(error)
    } finally {
      this.leave()
    }
  }

  /** All files from here on. Ends only when the whole message has come. */
  async *files(): AsyncGenerator<AsyncGenerator<Buffer>> {
    try {
      for (let count = 1; (await this.nextFile()) !== undefined; count += 1) {
        if (count > MOST_FILES) throw problem('too_many_files', { limit: MOST_FILES })
        yield this.#content()
      }
      if (!this.#raw.complete) throw problem('upload_incomplete')
    } finally {
      this.leave()
    }
  }

  /** The current part's bytes alone. */
  async *#content(): AsyncGenerator<Buffer> {
    try {
      yield* this.#reader.content()
    } catch (error) {
      throw explained(error)
    }
  }

  /** Reads no more of it. */
  leave(): void {
    this.#body.leave()
  }

  async #readField(name: string): Promise<void> {
    let value = ''
    for await (const bytes of this.#reader.content())
      if (value.length < LONGEST_FIELD) value += bytes.toString('latin1', 0, LONGEST_FIELD - value.length)
    this.#fields += 1
    if (this.#fields > MOST_FIELDS) throw problem('fields_refused')
    // Of several, the first counts.
    if (!this.fields.has(name)) this.fields.set(name, Buffer.from(value, 'latin1').toString())
  }
}

/** What any failure while reading a form means for the client. */
function explained(error: unknown): Problem {
  return error instanceof Problem ? error : problemWith('multipart_malformed', { cause: error })
}
