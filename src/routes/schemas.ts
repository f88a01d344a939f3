import { ERROR_CODES } from '../errors.ts'
import { STEM_WIDTH } from '../name.ts'
import { MOST_KEPT } from '../receipts/receipts.ts'
import { FETCHER_IDS } from '../vision/fetchers.ts'
import { APIS } from '../vision/limits.ts'

/** How an upload says how long its image shall live. */
export const EXPIRES_IN = {
  type: 'integer',
  minimum: 1,
  description: 'Seconds for which the image lives; at most MAX_LIFETIME. The server’s LIFETIME unless given.',
}

export const EXPIRY_OPTIONS = {
  querystring: { type: 'object', properties: { expires_in: EXPIRES_IN } },
  headers: { type: 'object', properties: { 'x-layover-expires-in': EXPIRES_IN } },
}

/** A longest side from 16 to 16384 pixels. */
const SIDE = '1[6-9]|[2-9][0-9]|[1-9][0-9]{2,3}|1[0-5][0-9]{3}|16[0-2][0-9]{2}|163[0-7][0-9]|1638[0-4]'

const FIT = {
  type: 'string',
  pattern: `^(${APIS.map(({ id }) => id).join('|')}|${SIDE})$`,
  description:
    'Asks for a copy that this API takes, or whose longer side has so many pixels at most (16 to 16384). ' +
    'Needs an option of the server’s.',
}
const STRIP = {
  const: 'metadata',
  description: 'Asks for a copy without metadata, but for the colour profile. Needs the same option.',
}
/** How an upload asks for a copy besides. */
const COPY = { fit: FIT, strip: STRIP }

/** All that an upload can ask for. */
export const UPLOAD_OPTIONS = {
  querystring: { type: 'object', properties: { expires_in: EXPIRES_IN, ...COPY } },
  headers: {
    type: 'object',
    properties: { 'x-layover-expires-in': EXPIRES_IN, 'x-layover-fit': FIT, 'x-layover-strip': STRIP },
  },
}

/** The body of an upload by form. */
export const FORM = {
  content: {
    'multipart/form-data': {
      schema: {
        type: 'object',
        required: ['file'],
        properties: {
          file: {
            type: 'string',
            format: 'binary',
            contentMediaType: 'application/octet-stream',
            description: 'A JPEG, PNG, GIF or WebP, with any file name.',
          },
          purpose: { type: 'string', description: 'Not used.' },
          expires_in: EXPIRES_IN,
          ...COPY,
        },
      },
    },
  },
}

/** The smallest PNG that decodes, to try things with. */
export const TINY_PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAACklEQVR4nGMAAQAABQABDQottAAAAABJRU5ErkJggg=='

/** The body of an upload as base64. */
export const BASE64 = {
  content: {
    'application/json': {
      schema: {
        type: 'object',
        required: ['data'],
        properties: {
          data: {
            type: 'string',
            format: 'image-as-base64',
            description: 'The image in base64, alone or as a data: URL. The declared type is not used.',
          },
          filename: { type: 'string', description: 'Not used.' },
          purpose: { type: 'string', description: 'Not used.' },
          expires_in: EXPIRES_IN,
          ...COPY,
        },
        example: { data: TINY_PNG, expires_in: 3600 },
      },
    },
  },
}

/** The body of an upload by URL. */
export const BY_URL = {
  content: {
    'application/json': {
      schema: {
        type: 'object',
        required: ['url'],
        properties: {
          url: {
            type: 'string',
            format: 'uri',
            maxLength: 2048,
            description: 'An http or https URL of a public host, on port 80 or 443.',
          },
          filename: { type: 'string', description: 'Not used.' },
          purpose: { type: 'string', description: 'Not used.' },
          expires_in: EXPIRES_IN,
          ...COPY,
        },
        example: { url: 'https://example.com/photo.jpg', expires_in: 3600 },
      },
    },
  },
}

const date = (description: string) => ({ type: 'string', format: 'date-time', description })

const FACTS = {
  id: { type: 'string', pattern: `^file_[0-9a-z]{${STEM_WIDTH}}$` },
  url: { type: 'string', format: 'uri', description: 'Where anybody can fetch the image.' },
  mime_type: { enum: ['image/jpeg', 'image/png', 'image/gif', 'image/webp'] },
  size: { type: 'integer', minimum: 1, description: 'Bytes, as they came.' },
  expires_at: date('9999-12-31T23:59:59.000Z for an image that never expires.'),
  delete_url: {
    type: 'string',
    format: 'uri',
    description: 'Deletes the image, without a key. A GET asks first.',
  },
}
const HEADER = {
  width: { type: 'integer', minimum: 1 },
  height: { type: 'integer', minimum: 1 },
  animated: { type: 'boolean' },
}

/** A path's `{id}`. */
export const ID_PARAM = { type: 'object', required: ['id'], properties: { id: FACTS.id } }

/** Which APIs take an image. The table has others from time to time. */
const COMPATIBILITY = {
  type: 'object',
  additionalProperties: { type: 'boolean' },
  description: 'For each known API, whether it takes the image. `GET …/compatibility` says why not.',
}

const orNull = ({ type, ...rest }: { type: string }) => ({ type: [type, 'null'], ...rest })

function exactly(properties: object) {
  return { type: 'object', required: Object.keys(properties), properties, additionalProperties: false }
}

const IMAGE = exactly({ ...FACTS, ...HEADER, compatibility: COMPATIBILITY })

const REASON = exactly({
  code: { enum: ['bytes', 'sides', 'pixels', 'ratio', 'format', 'animation'] },
  message: { type: 'string' },
  actual: { type: ['number', 'string'] },
  limit: { type: ['number', 'string'] },
})

/** What one API says to an image. */
const OF_API = exactly({
  api: { type: 'string', description: 'As `fit` takes it.' },
  name: { type: 'string' },
  accepted: { type: 'boolean' },
  reasons: { type: 'array', items: REASON },
  would_fit: {
    description: 'A smaller copy that is taken; null for an image that is, and where no copy would be.',
    anyOf: [
      exactly({
        ...{ width: HEADER.width, height: HEADER.height, animated: HEADER.animated },
        mime_types: { type: 'array', items: FACTS.mime_type },
        max_bytes: { type: ['integer', 'null'] },
      }),
      { type: 'null' },
    ],
  },
  basis: { enum: ['documented', 'measured', 'third-party'], description: 'How the limits are known.' },
  source: { type: 'string', format: 'uri' },
  date: { type: 'string' },
  note: { type: ['string', 'null'] },
})

/** The last part of an image's path. */
export const NAME = { type: 'string', pattern: `^[0-9a-z]{${STEM_WIDTH}}\\.(jpg|png|gif|webp)$` }

const CHECK = {
  anyOf: [
    exactly({ status: { const: 'ok' } }),
    exactly({
      status: { const: 'failed' },
      reason: { type: 'string', description: 'Always the same sentence.' },
    }),
  ],
}

const FETCH = exactly({
  at: date('When the answer had left.'),
  method: { enum: ['GET', 'HEAD'] },
  fetcher: { enum: FETCHER_IDS, description: 'Who it said it was.' },
  status: { type: 'integer' },
  bytes: {
    type: 'integer',
    minimum: 0,
    description: 'Of the image; if broken off, as many as left at most.',
  },
  complete: { type: 'boolean', description: 'Whether all of the answer was sent.' },
  ms: { type: 'integer', minimum: 0, description: 'From the request to the end of the answer.' },
  network: {
    type: 'string',
    description: 'The network it came from, a /24 or, of IPv6, a /48; the address is not kept.',
  },
})

/** Schemas that several routes name, each with its id. */
export const SHARED_SCHEMAS = [
  {
    $id: 'Envelope',
    ...exactly({
      success: { type: 'boolean' },
      message: { type: 'string', description: 'Empty, or what is wrong and what to do about it.' },
      data: { type: ['string', 'null'], description: 'The image’s URL.' },
    }),
  },
  {
    $id: 'Error',
    ...exactly({
      error: exactly({
        message: { type: 'string', description: 'What is wrong and what to do about it.' },
        type: { enum: ['authentication_error', 'invalid_request_error', 'rate_limit_error', 'server_error'] },
        code: { enum: ERROR_CODES, description: 'Stays the same whatever the message says.' },
        param: { type: 'null' },
      }),
    }),
  },
  { $id: 'Image', ...IMAGE },
  {
    $id: 'NewImage',
    ...IMAGE,
    properties: {
      ...IMAGE.properties,
      fitted: {
        ...exactly({ ...FACTS, ...HEADER }),
        description: 'The copy that `fit` or `strip` asked for, or the image itself where it is as wanted.',
      },
    },
  },
  {
    $id: 'Compatibility',
    ...exactly({
      id: FACTS.id,
      mime_type: FACTS.mime_type,
      size: FACTS.size,
      ...HEADER,
      dated: { type: 'string', description: 'Year and month in which the table was gone through.' },
      apis: { type: 'array', items: OF_API },
    }),
  },
  {
    $id: 'DataUrl',
    ...exactly({
      id: FACTS.id,
      mime_type: FACTS.mime_type,
      size: FACTS.size,
      data_url: { type: 'string', pattern: '^data:image/(jpeg|png|gif|webp);base64,' },
    }),
  },
  {
    $id: 'AnthropicError',
    ...exactly({
      type: { const: 'error' },
      error: exactly({
        type: { type: 'string', description: 'As Anthropic’s API has it for the status.' },
        message: { type: 'string', description: 'What is wrong and what to do about it.' },
        code: { enum: ERROR_CODES, description: 'Stays the same whatever the message says.' },
      }),
    }),
  },
  {
    $id: 'UploadLink',
    ...exactly({
      id: FACTS.id,
      upload_url: { type: 'string', format: 'uri', description: 'Where the image is to be sent.' },
      url: FACTS.url,
      method: { const: 'PUT' },
      headers: exactly({
        'Content-Type': FACTS.mime_type,
        'Content-Length': { type: 'string', pattern: '^[0-9]+$' },
      }),
      mime_type: FACTS.mime_type,
      size: FACTS.size,
      expires_at: FACTS.expires_at,
      upload_expires_at: date('When the link stops taking anything.'),
    }),
  },
  {
    $id: 'ImageState',
    ...exactly({
      ...FACTS,
      size: orNull(FACTS.size),
      width: orNull(HEADER.width),
      height: orNull(HEADER.height),
      animated: orNull(HEADER.animated),
      compatibility: orNull(COMPATIBILITY),
      expired: {
        type: 'boolean',
        description: 'If it has been swept as well, what only its bytes could say is null.',
      },
    }),
  },
  {
    $id: 'ImageList',
    ...exactly({
      object: { const: 'list' },
      data: { type: 'array', items: exactly({ ...FACTS, created_at: date('When it was uploaded.') }) },
      has_more: { type: 'boolean' },
      last_id: { type: ['string', 'null'], description: 'To be given as `after` for the next page.' },
    }),
  },
  {
    $id: 'Usage',
    ...exactly({
      quota: exactly({
        limit: { type: ['integer', 'null'], description: 'Bytes; null for any number.' },
        used: {
          type: 'integer',
          description: 'Bytes uploaded within the window, each image at least as 4096.',
        },
        reserved: { type: 'integer', description: 'Bytes of uploads that are under way.' },
        window_seconds: { type: 'integer' },
        free_at: {
          type: ['string', 'null'],
          format: 'date-time',
          description: 'When some of them are free again.',
        },
      }),
      rate_limit: {
        description: 'null for any number of requests.',
        anyOf: [
          exactly({ limit: { type: 'integer' }, window_seconds: { type: 'integer' } }),
          { type: 'null' },
        ],
      },
    }),
  },
  {
    $id: 'Fetches',
    ...exactly({
      id: FACTS.id,
      recorded: { type: 'boolean', description: 'Whether it is noted who fetches images.' },
      reason: { type: ['string', 'null'], description: 'Why it is not.' },
      total: { type: 'integer', minimum: 0, description: 'Of all, also those that are not listed any more.' },
      fetches: { type: 'array', maxItems: MOST_KEPT, items: FETCH },
    }),
  },
  { $id: 'Deleted', ...exactly({ id: FACTS.id, deleted: { const: true } }) },
  { $id: 'Ok', ...exactly({ status: { const: 'ok' } }) },
  {
    $id: 'Readiness',
    ...exactly({
      status: { enum: ['ok', 'degraded', 'unavailable'] },
      checks: exactly({ store: CHECK, usage: CHECK, space: CHECK }),
    }),
  },
]
