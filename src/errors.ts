/** Every error a client can see: a stable code, an HTTP status, and what is wrong and what to do about it. */
const ERRORS = {
  key_missing: entry(
    401,
    () => 'No key came with the request. Send the header "Authorization: Bearer <key>".',
  ),
  key_wrong: entry(401, () => 'This key is not known here. Check the value after "Authorization: Bearer".'),
  key_expired: entry(
    401,
    (detail: { expires: string }) => `This key expired at ${detail.expires}. Ask for a new one.`,
  ),
  auth_unavailable: entry(503, () => 'Whether this key is good cannot be found out now. Try again shortly.'),
  not_found: entry(404, () => 'There is nothing at this address. Images are uploaded with POST /api/upload.'),
  method_not_allowed: entry(
    405,
    (detail: { allow: string }) =>
      `This address takes ${detail.allow}. Images are uploaded with POST /api/upload.`,
  ),
  image_not_found: entry(
    404,
    () => 'There is no image at this address: it was never here or has been deleted.',
  ),
  image_expired: entry(
    410,
    (detail: { expires: string }) =>
      `This image expired at ${detail.expires}. Upload it again for a new URL.`,
  ),
  delete_link_wrong: entry(
    404,
    () => 'This link deletes nothing: it is not whole, or was not made by this server.',
  ),
  range_not_satisfiable: entry(
    416,
    (detail: { size: number }) => `The range lies outside the image, which has ${detail.size} bytes.`,
  ),
  precondition_failed: entry(
    412,
    () => 'The image is not the one that If-Match or If-Unmodified-Since asks for.',
  ),
  multipart_expected: entry(
    415,
    () =>
      'Send the image as multipart/form-data in a part named "file", for example with curl -F file=@photo.png. ' +
      'Do not set Content-Type yourself: the client adds it with the boundary.',
  ),
  json_expected: entry(
    415,
    () =>
      'Send a JSON object with Content-Type: application/json and the image in base64 as its member "data".',
  ),
  json_malformed: entry(
    400,
    () => 'The body is not a whole JSON object. Send {"data":"<the image in base64>"}.',
  ),
  data_missing: entry(
    400,
    () =>
      'The member "data" is missing or no text. Put the image there, in base64 or as a data: URL with ";base64,".',
  ),
  base64_invalid: entry(
    400,
    () =>
      'The member "data" is not base64: it takes A–Z, a–z, 0–9, "+" and "/", padded with "=" to a multiple of four, ' +
      'without spaces or line breaks.',
  ),
  multipart_malformed: entry(
    400,
    () =>
      'The multipart body is malformed or incomplete: its boundary, a part, or its end is missing. ' +
      'Let the client set Content-Type, and send the whole body.',
  ),
  file_missing: entry(400, (detail: { found: string[] }) =>
    detail.found.includes('file')
      ? 'The part named "file" is text, as it has no file name. With curl, write -F file=@photo.png, with the @.'
      : `No part named "file" came${detail.found.length > 0 ? ` (found: ${detail.found.join(', ')})` : ''}. ` +
        'Send the image in one, for example with curl -F file=@photo.png.',
  ),
  too_many_files: entry(
    400,
    () => 'More than one file came. Send one image a request, in one part named "file".',
  ),
  fields_refused: entry(
    400,
    () =>
      'The form has too many fields, or one with a reserved name. Send the file, and expires_in if you need it.',
  ),
  file_empty: entry(400, () => 'The file is empty. Send the bytes of an image.'),
  file_too_large: entry(
    413,
    (detail: { limit: number }) => `The file is too large: at most ${detail.limit} bytes are taken.`,
  ),
  body_too_large: entry(
    413,
    () => 'The request body is too large. Send one image, and only the fields it needs.',
  ),
  format_unsupported: entry(
    415,
    () => 'The bytes are not a JPEG, PNG, GIF or WebP image. The name and the declared type do not count.',
  ),
  image_invalid: entry(
    422,
    (detail: { format: string; reason: string }) =>
      `The file begins as ${detail.format.toUpperCase()} but is damaged: ${detail.reason}.`,
  ),
  image_dimensions: entry(
    422,
    (detail: { width: number; height: number; limit: number }) =>
      `The image measures ${detail.width} × ${detail.height} pixels. ` +
      `Each side must be at least 1, and both together at most ${detail.limit} pixels.`,
  ),
  expires_in_invalid: entry(
    400,
    (detail: { limit: number }) =>
      'expires_in must be a whole number of seconds, at least 1' +
      (Number.isFinite(detail.limit) ? ` and at most ${detail.limit}.` : '.'),
  ),
  cursor_invalid: entry(
    400,
    () =>
      'limit must be a whole number from 1 to 100, and after the id of an image of yours, as the last answer gave it.',
  ),
  upload_incomplete: entry(
    400,
    () => 'The connection closed before the whole body had arrived. Send it again.',
  ),
  upload_stalled: entry(408, () => 'The body stopped arriving. Send it again on a faster connection.'),
  headers_too_large: entry(431, () => 'The headers of the request are too large.'),
  transfer_encoding_refused: entry(
    400,
    () => 'The body comes in a Transfer-Encoding that is not taken. Send it with Content-Length, or chunked.',
  ),
  request_malformed: entry(400, () => 'The request is malformed.'),
  storage_full: entry(507, () => 'The server has no space left for images. Tell its operator.'),
  rate_limited: entry(
    429,
    (detail: { limit: number; window: number; wait: number }) =>
      `Too many requests: ${detail.limit} in ${detail.window} seconds are taken. Try again in ${detail.wait} seconds.`,
  ),
  quota_exceeded: entry(
    429,
    (detail: { limit: number; used: number; bytes: number; wait: number }) =>
      `The quota of this key is ${detail.limit} bytes, of which ${detail.used} are used; this image has ${detail.bytes}. ` +
      `Try again in ${detail.wait} seconds.`,
  ),
  file_over_quota: entry(
    413,
    (detail: { bytes: number; limit: number }) =>
      `The image has ${detail.bytes} bytes, which is more than the whole quota of this key, ${detail.limit} bytes.`,
  ),
  usage_unavailable: entry(
    503,
    () => 'How much this key has used cannot be found out now. Try again shortly.',
  ),
  store_unavailable: entry(503, () => 'The image store does not answer. Try again shortly.'),
  internal: entry(
    500,
    () => 'Something went wrong on the server. Its log tells what, under this request id.',
  ),
} as const

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
  store_unavailable: { 'retry-after': '5' },
}

/** An error with an answer for the client; `message` is that answer, and `cause` is for the log alone. */
export class Problem extends Error {
  override name = 'Problem'
  readonly code: ErrorCode
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(
    code: ErrorCode,
    message: string,
    options: { headers?: Record<string, string>; cause?: unknown },
  ) {
    super(message, { cause: options.cause })
    this.code = code
    this.status = ERRORS[code].status
    this.headers = { ...HEADERS[code], ...options.headers }
  }
}

/** The problem with this code; `detail` fills in its text. */
export function problem<C extends ErrorCode>(code: C, ...detail: Detail<C>): Problem {
  return new Problem(code, textOf(code, detail), {})
}

/** The same, with the failure that led to it (for the log) or headers of this one answer. */
export function problemWith<C extends ErrorCode>(
  code: C,
  options: { headers?: Record<string, string>; cause?: unknown },
  ...detail: Detail<C>
): Problem {
  return new Problem(code, textOf(code, detail), options)
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

function entry<D extends unknown[]>(status: number, text: (...detail: D) => string) {
  return { status, text }
}
