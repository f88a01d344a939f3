import type { FastifyRequest } from 'fastify'
import { Problem, problem, problemWith } from '../errors.ts'
import { Base64Decoder } from './base64-decoder.ts'
import { openBody } from './body.ts'
import { type Incoming, isJson, OVERHEAD } from './incoming.ts'
import { JsonMembers, type MemberToken } from './json-members.ts'
import { OPTION_NAMES } from './options.ts'

/** The member that holds the image. */
const DATA = 'data'
/** The other members that count, all of them short. */
const FIELDS: readonly string[] = OPTION_NAMES
const LONGEST_FIELD = 100
/** What a right body looks like, for those who sent another. */
const EXAMPLE = '{"data":"<the image in base64>"}'
/** What the image may grow by where its slashes are escaped, as some libraries do: one character in 64. With room to spare. */
const LONGEST_ESCAPES = 9 / 8

/** An `onRequest` hook that refuses, before it is read, a body that says it is too large for an image of `maxFileSize` bytes. */
export function refuseTooLargeBase64(maxFileSize: number) {
  return async (request: FastifyRequest): Promise<void> => {
    const declared = Number(request.headers['content-length'] ?? 0)
    if (declared > encodedSize(maxFileSize) + OVERHEAD)
      throw problem('file_too_large', { limit: maxFileSize })
  }
}

/**
 * Reads a JSON object with an image in base64 as its member `data`, alone or in a data URL. It is decoded as it arrives, so of the
 * body no more than a piece is ever held.
 */
export function readBase64(request: FastifyRequest, maxFileSize: number): Incoming {
  if (!isJson(request)) throw problem('json_expected', { example: EXAMPLE })
  const fields = new Map<string, string>()
  return { body: decode(request, fields, encodedSize(maxFileSize) + OVERHEAD), fields }
}

const encodedSize = (bytes: number) => Math.ceil(Math.ceil(bytes / 3) * 4 * LONGEST_ESCAPES)

async function* decode(
  request: FastifyRequest,
  fields: Map<string, string>,
  maxBody: number,
): AsyncGenerator<Buffer> {
  const members = new JsonMembers()
  const image = new Base64Decoder()
  const state: State = { image, fields, hasImage: false }
  try {
    for await (const chunk of openBody(request, maxBody)) {
      for (const member of members.push(chunk)) take(member, state)
      if (members.received - image.received * LONGEST_ESCAPES > OVERHEAD) throw problem('body_too_large')
      const bytes = image.take()
      if (bytes.length > 0) yield bytes
    }
    for (const member of members.end()) take(member, state)
    if (!state.hasImage) throw problem('data_missing')
    yield image.end()
  } catch (error) {
    if (error instanceof Problem) throw error
    throw problemWith('json_malformed', { cause: error }, { example: EXAMPLE })
  }
}

interface State {
  readonly image: Base64Decoder
  readonly fields: Map<string, string>
  /** Whether the image has begun. */
  hasImage: boolean
}

/** Values that a field cannot have; null is as good as none. */
const NEITHER = new Set(['trueValue', 'falseValue', 'startObject', 'startArray'])

function take({ name, token }: MemberToken, state: State): void {
  const { image, fields } = state
  if (name !== DATA) {
    if (!FIELDS.includes(name)) return
    if (token.name === 'startString') fields.set(name, '')
    if (token.name === 'stringChunk')
      fields.set(name, ((fields.get(name) ?? '') + token.value).slice(0, LONGEST_FIELD))
    if (token.name === 'numberValue') fields.set(name, token.value)
    // Not to be taken for one that was not given.
    if (NEITHER.has(token.name)) fields.set(name, token.name)
    return
  }
  if (token.name === 'startString') {
    if (state.hasImage) throw problem('json_malformed', { example: EXAMPLE })
    state.hasImage = true
  } else if (token.name === 'stringChunk') image.push(token.value)
  else if (token.name !== 'endString') throw problem('data_missing')
}
