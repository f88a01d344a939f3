import { answerIn, describe, ENTRY_REFUSALS, json, NO_STORE, refusals, UPLOAD_HEADERS } from './describe.ts'
import { EXPIRES_IN, EXPIRY_OPTIONS, ID_PARAM, NAME } from './schemas.ts'

/** A right body, for those who sent another. */
export const PRESIGN_EXAMPLE = '{"filename":"photo.png","content_type":"image/png","size":12345}'

const tags = ['Files']
const TYPES = ['image/jpeg', 'image/png', 'image/gif', 'image/webp']

const ORDER = {
  content: {
    'application/json': {
      schema: {
        type: 'object',
        required: ['content_type', 'size'],
        properties: {
          content_type: { enum: TYPES },
          size: { type: 'integer', minimum: 1, description: 'Bytes, exactly. At most MAX_FILE_SIZE.' },
          filename: { type: 'string', description: 'Not used.' },
          purpose: { type: 'string', description: 'Not used.' },
          expires_in: EXPIRES_IN,
        },
        example: JSON.parse(PRESIGN_EXAMPLE),
      },
    },
  },
}

const QUOTA_REFUSALS = [
  'quota_exceeded',
  'links_exceeded',
  'file_over_quota',
  'expires_in_invalid',
  'file_too_large',
] as const
const NO_IMAGE = ['format_unsupported', 'image_invalid', 'image_dimensions'] as const
const JSON_REFUSALS = [
  'json_expected',
  'json_malformed',
  'member_invalid',
  'body_too_large',
  'upload_incomplete',
  'upload_stalled',
  'body_fragmented',
] as const

/** What `/openapi.json` says of uploads by link. */
export const PRESIGN_SCHEMAS = {
  presign: describe({
    operationId: 'presignUpload',
    tags,
    summary: 'A link to send an image to, without a key',
    description:
      'The link leads to the bucket where there is one that clients can reach, else to this server. It takes one image of exactly this ' +
      'size and type, by PUT, with the headers of the answer. The image is there from the first time that its `url` is asked for.',
    ...EXPIRY_OPTIONS,
    body: ORDER,
    response: {
      200: json('The link, and where the image will be.', { $ref: 'UploadLink#' }),
      ...refusals(
        'Error',
        ...ENTRY_REFUSALS,
        ...QUOTA_REFUSALS,
        ...JSON_REFUSALS,
        'presign_off',
        'fit_invalid',
        'strip_invalid',
        'fit_unavailable',
        'store_unavailable',
      ),
    },
  }),
  complete: describe({
    operationId: 'completeUpload',
    tags,
    summary: 'Whether what was sent to a link has become an image',
    description:
      'Need not be called: the first GET of the image’s `url` does the same. It says why there is none.',
    params: ID_PARAM,
    response: {
      200: json('It has.', { $ref: 'Image#' }),
      ...refusals(
        'Error',
        ...ENTRY_REFUSALS,
        ...NO_IMAGE,
        'image_not_found',
        'image_expired',
        'upload_missing',
        'upload_mismatch',
        'server_busy',
        'store_unavailable',
        'storage_full',
        'upload_done',
      ),
    },
  }),
  put: describe({
    operationId: 'sendToLink',
    tags: ['Upload links'],
    isOpen: true,
    isForPages: true,
    summary: 'Send an image to a link',
    params: { type: 'object', required: ['name'], properties: { name: NAME } },
    querystring: {
      type: 'object',
      required: ['ticket'],
      properties: { ticket: { type: 'string', description: 'As the `upload_url` has it.' } },
    },
    body: {
      content: Object.fromEntries(
        TYPES.map((type) => [type, { schema: { type: 'string', format: 'binary' } }]),
      ),
    },
    response: {
      200: {
        ...answerIn({}, 'It is stored.', { ...NO_STORE, 'X-Layover-Id': UPLOAD_HEADERS['X-Layover-Id'] }),
        type: 'null',
      },
      ...refusals(
        'Error',
        'upload_link_wrong',
        'upload_link_expired',
        'upload_mismatch',
        'upload_done',
        ...NO_IMAGE,
        'upload_incomplete',
        'upload_stalled',
        'body_fragmented',
        'body_too_large',
        'server_busy',
        'store_unavailable',
        'storage_full',
        'usage_unavailable',
      ),
    },
  }),
}
