import type { FastifyRequest } from 'fastify'
import { Problem, problem, problemWith } from '../errors.ts'
import { openBody } from './body.ts'
import { AmbiguousPart, FormReader, MalformedForm } from './form.ts'
import { OVERHEAD } from './incoming.ts'

/** How many fields a form may have, and how much of a name and a field counts: more than any client sends. */
const MOST_FIELDS = 16
const LONGEST_NAME = 100
/** More than the longest URL that is fetched from, so that none is taken for a shorter one. */
const LONGEST_FIELD = 2100

export interface FormLimits {
  /** Bytes. */
  readonly maxBody: number
  readonly mostParts: number
}

/** A form with files and some fields, in any order. */
export class UploadForm {
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
    this.#reader = new FormReader(this.#body, boundary, OVERHEAD)
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

  /** All files from here on, of which there may be so many. Ends only when the whole message has come. */
  async *files(most: number): AsyncGenerator<AsyncGenerator<Buffer>> {
    try {
      for (let count = 1; (await this.nextFile()) !== undefined; count += 1) {
        if (count > most) throw problem('too_many_files', { limit: most })
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
  if (error instanceof Problem) return error
  const detail = error instanceof AmbiguousPart ? { twice: error.twice } : {}
  return problemWith('multipart_malformed', { cause: error }, detail)
}
