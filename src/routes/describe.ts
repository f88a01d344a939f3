import type { FastifySchema } from 'fastify'
import { type ErrorCode, statusOf } from '../errors.ts'

/** What OpenAPI says of a route. Fastify's own type does not know its members. */
export interface RouteDescription {
  readonly operationId: string
  readonly tags: readonly string[]
  readonly summary: string
  readonly description?: string
  /** Whether it takes a key. */
  readonly isOpen?: boolean
  /** Whether pages of other origins may use it; all that takes a key is so. */
  readonly isForPages?: boolean
  readonly params?: object
  readonly querystring?: object
  readonly headers?: object
  readonly body?: object
  readonly response: Readonly<Record<string, Answer>>
}

/** The schema of a route, from which `/openapi.json` is made. Nothing is checked by it: refusals say more than a schema can. */
export function describe({
  isOpen = false,
  isForPages = !isOpen,
  response,
  ...description
}: RouteDescription): FastifySchema {
  const more = { ...(isForPages && OF_PAGES), ...(!isOpen && OF_KEYED) }
  const whole = Object.entries(response).map(([status, answer]) => [
    status,
    { ...answer, headers: { ...answer.headers, ...more } },
  ])
  const security = isOpen ? {} : { security: [{ key: [] }] }
  return { ...description, response: Object.fromEntries(whole), ...security } as FastifySchema
}

/** In the document, not to be listed: what only refuses. */
export const HIDDEN = { hide: true } as FastifySchema

/** The shape of errors below `/api`, where Anthropic’s clients ask, or everywhere else. */
export type ErrorShape = 'Envelope' | 'Error' | 'AnthropicError'

/** What OpenAPI says of an answer. */
export interface Answer {
  readonly description: string
  readonly headers: object
  readonly content?: object
  /** 'null' for an answer without a body. */
  readonly type?: 'null'
}

/** An answer with a body of JSON. */
export function json(description: string, schema: object, headers: object = {}): Answer {
  return answerIn({ 'application/json': schema }, description, headers)
}

/** An answer with a body of one of several media types, each with its schema. */
export function answerIn(schemas: Record<string, object>, description: string, headers: object = {}): Answer {
  const content = Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }]))
  return { description, headers: { ...REQUEST_ID, ...headers }, content }
}

/** The same answers without their bodies, as HEAD gets them. */
export function bodiless(answers: Record<string, Answer>): Record<string, Answer> {
  const entries = Object.entries(answers).map(([status, { content: _content, ...rest }]) => [
    status,
    { ...rest, type: 'null' as const },
  ])
  return Object.fromEntries(entries)
}

/**
 * All refusals of a route by status: those it can itself meet, and those that any request can. `shape` names one of ours, or has a schema for
 * each media type.
 */
export function refusals(
  shape: ErrorShape | Record<string, object>,
  ...codes: ErrorCode[]
): Record<string, Answer> {
  const schemas = typeof shape === 'string' ? { 'application/json': { $ref: `${shape}#` } } : shape
  const byStatus = Map.groupBy(new Set([...codes, ...ALWAYS]), statusOf)
  return Object.fromEntries(
    [...byStatus].map(([status, found]) => {
      const list = found.map((code) => `\`${code}\``).join(', ')
      const headers = { ...NO_STORE, ...NO_SNIFFING, ...HEADERS[status] }
      return [status, answerIn(schemas, `Refused: ${list}`, headers)]
    }),
  )
}

const ALWAYS: readonly ErrorCode[] = [
  'request_malformed',
  'transfer_encoding_refused',
  'headers_too_large',
  'internal',
]

/** A header as the schema of its value: that is how the document's generator takes it. */
export const header = (description: string, type: 'string' | 'integer' = 'string') => ({ type, description })

export const NO_STORE = { 'Cache-Control': header('`no-store`.') }

export const NO_SNIFFING = { 'X-Content-Type-Options': header('`nosniff`.') }

const REQUEST_ID = {
  'X-Request-Id': header(
    'Names the request in the server’s log. Missing where nothing that is a request came.',
  ),
}

const RETRY_AFTER = { 'Retry-After': header('Seconds after which to try again.', 'integer') }

const HEADERS: Readonly<Record<string, object>> = {
  401: { 'WWW-Authenticate': header('`Bearer`, and whether a key was wrong.') },
  416: { 'Content-Range': header('How many bytes the image has: `bytes */67`.') },
  429: RETRY_AFTER,
  503: RETRY_AFTER,
}

/** What every answer has where a key is wanted: its rate, if it has one. */
const OF_KEYED = {
  'RateLimit-Limit': header('Requests in a window. Only with a rate limit.', 'integer'),
  'RateLimit-Remaining': header('Requests left in this window. Only with a rate limit.', 'integer'),
  'RateLimit-Reset': header('Seconds until the window ends. Only with a rate limit.', 'integer'),
}

/** What browsers ask for, with `CORS_ORIGIN`. */
const OF_PAGES = {
  'Access-Control-Allow-Origin': header('The origin whose pages may read the answer. Only with CORS_ORIGIN.'),
  'Access-Control-Expose-Headers': header('Headers that they may read. Only with CORS_ORIGIN.'),
  Vary: header('`Origin`. Only with CORS_ORIGIN.'),
}

/** What a request can meet before it is let in. */
export const ENTRY_REFUSALS = [
  'key_missing',
  'key_wrong',
  'key_expired',
  'rate_limited',
  'auth_unavailable',
  'usage_unavailable',
] as const

/** What an upload can meet whichever way it comes. */
export const UPLOAD_REFUSALS: readonly ErrorCode[] = [
  ...ENTRY_REFUSALS,
  'quota_exceeded',
  'file_over_quota',
  'expires_in_invalid',
  'file_empty',
  'upload_incomplete',
  'upload_stalled',
  'body_fragmented',
  'file_too_large',
  'body_too_large',
  'format_unsupported',
  'image_invalid',
  'image_dimensions',
  'server_busy',
  'store_unavailable',
  'storage_full',
]

/** What an upload can meet that asks for a copy. */
export const COPY_REFUSALS: readonly ErrorCode[] = [
  'fit_invalid',
  'strip_invalid',
  'fit_unavailable',
  'fit_impossible',
  'fit_failed',
  'fit_busy',
]

/** What only a form can meet. */
export const FORM_REFUSALS: readonly ErrorCode[] = [
  'multipart_expected',
  'multipart_malformed',
  'file_missing',
  'too_many_files',
  'fields_refused',
]

/** What an upload by URL can meet: the image is another server's, so that what is wrong with it is said with other codes. */
export const URL_REFUSALS: readonly ErrorCode[] = [
  ...UPLOAD_REFUSALS.filter((code) => code !== 'format_unsupported' && code !== 'file_empty'),
  'json_expected',
  'json_malformed',
  'url_invalid',
  'url_of_this_server',
  'url_fetch_off',
  'url_forbidden_address',
  'url_unresolvable',
  'url_unreachable',
  'url_timeout',
  'url_http_error',
  'url_redirect_refused',
  'url_answer_encoded',
  'url_answer_incomplete',
  'url_not_an_image',
]

/** Header of the answer to an upload in the envelope, which has no room for it. */
export const FITTED_HEADER = {
  'X-Layover-Fitted-Url': header('URL of the copy that `fit` or `strip` asked for. Only with one of them.'),
}

/** Headers of the answer to every upload. */
export const UPLOAD_HEADERS = {
  'X-Layover-Id': header('The image’s id.'),
  'X-Layover-Expires-At': header('When it expires, RFC 3339 in UTC; or `never`.'),
  'X-Layover-Delete-Url': header('Deletes the image, without a key.'),
}
