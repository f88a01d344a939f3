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
const LONGEST_FIELD = 1024

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
  const { 'content-type': contentType = '' } = request.headers
  if (!/^multipart\/form-data *(;|$)/i.test(contentType)) throw problem('multipart_expected')
  const boundary = boundaryOf(contentType)
  if (boundary === undefined) throw problem('multipart_malformed')
  const form = new Form(request, boundary, maxFileSize + OVERHEAD)
  const file = await form.nextFile()
  if (file === FILE_PART) return { body: form.file(), fields: form.fields }
  form.leave()
  const found = [...form.fields.keys(), ...(file === undefined ? [] : [file])]
  throw problem('file_missing', { found: found.slice(0, 5) })
}

/** A form with one file and some fields, in any order. */
class Form {
  /** As far as it has been read. */
  readonly fields = new Map<string, string>()
  #raw: FastifyRequest['raw']
  #body: ReturnType<typeof openBody>
  #reader: FormReader
  #parts = 0
  #fields = 0

  constructor({ raw, server }: FastifyRequest, boundary: string, maxBody: number) {
    this.#raw = raw
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
        if (this.#parts > MOST_PARTS || part.name in Object.prototype) throw problem('fields_refused')
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
  async *file(): AsyncGenerator<Buffer> {
    try {
      yield* this.#reader.content()
      if ((await this.nextFile()) !== undefined) throw problem('too_many_files')
      if (!this.#raw.complete) throw problem('upload_incomplete')
    } catch (error) {
      throw explained(error)
    } finally {
      this.leave()
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
