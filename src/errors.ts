import { ERRORS } from './error-table.ts'

export type ErrorCode = keyof typeof ERRORS

/** All codes. */
export const ERROR_CODES = Object.keys(ERRORS) as readonly ErrorCode[]

type Detail<C extends ErrorCode> = Parameters<(typeof ERRORS)[C]['text']>

/** Headers that belong to a code wherever it is answered. */
const HEADERS: { readonly [code in ErrorCode]?: Readonly<Record<string, string>> } = {
  key_missing: { 'www-authenticate': 'Bearer realm="layover"' },
  key_wrong: { 'www-authenticate': 'Bearer realm="layover", error="invalid_token"' },
  key_expired: { 'www-authenticate': 'Bearer realm="layover", error="invalid_token"' },
  auth_unavailable: { 'retry-after': '5' },
  usage_unavailable: { 'retry-after': '5' },
  server_busy: { 'retry-after': '5' },
  fit_busy: { 'retry-after': '5' },
  store_unavailable: { 'retry-after': '5' },
}

export interface ProblemOptions {
  readonly headers?: Record<string, string>
  readonly cause?: unknown
  readonly limit?: string
}

/** An error with an answer for the client; `message` is that answer, and `cause` is for the log alone. */
export class Problem extends Error {
  override name = 'Problem'
  readonly code: ErrorCode
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** The limit that was met, for the log alone: the name of its setting, if it has one. */
  readonly limit: string | undefined

  constructor(code: ErrorCode, message: string, options: ProblemOptions) {
    super(message, { cause: options.cause })
    this.code = code
    this.status = ERRORS[code].status
    this.headers = { ...HEADERS[code], ...options.headers }
    this.limit = options.limit
  }
}

/** The problem with this code; `detail` fills in its text. */
export function problem<C extends ErrorCode>(code: C, ...detail: Detail<C>): Problem {
  return new Problem(code, textOf(code, detail), {})
}

/**
 * The same, with the failure that led to it or the limit that was met (both for the log), or
 * headers of this one answer.
 */
export function problemWith<C extends ErrorCode>(
  code: C,
  options: ProblemOptions,
  ...detail: Detail<C>
): Problem {
  return new Problem(code, textOf(code, detail), options)
}

/**
 * The server is at a limit; `limit` is the name of its setting, if it has one, and the log says it.
 */
export function busy(limit: string): Problem {
  return problemWith('server_busy', { limit })
}

/** The envelope of `/api`, three members whatever happens. */
export interface Envelope {
  readonly success: boolean
  readonly message: string
  readonly data: string | null
}

/** A problem as `/api` answers it. */
export function asEnvelope({ message }: Problem): Envelope {
  return { success: false, message, data: null }
}

/** A problem as everything else answers it: the shape that OpenAI's clients read. */
export function asErrorObject({ message, status, code }: Problem) {
  return { error: { message, type: errorType(status), code, param: null } }
}

/** A problem as Anthropic's clients read it, with our code besides. */
export function asAnthropicError({ message, status, code }: Problem) {
  return { type: 'error', error: { type: ANTHROPIC_TYPES[status] ?? 'invalid_request_error', message, code } }
}

const ANTHROPIC_TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  500: 'api_error',
  502: 'api_error',
  503: 'overloaded_error',
  504: 'api_error',
  507: 'api_error',
}

function errorType(status: number): string {
  if (status === 401) return 'authentication_error'
  if (status === 429) return 'rate_limit_error'
  return status < 500 ? 'invalid_request_error' : 'server_error'
}

/** The HTTP status of a code. */
export function statusOf(code: ErrorCode): number {
  return ERRORS[code].status
}

function textOf<C extends ErrorCode>(code: C, detail: Detail<C>): string {
  const text = ERRORS[code].text as (...detail: Detail<C>) => string
  return text(...detail)
}
