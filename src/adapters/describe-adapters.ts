import type { ErrorCode } from '../errors.ts'
import {
  answerIn,
  describe,
  FORM_REFUSALS,
  header,
  json,
  NO_SNIFFING,
  NO_STORE,
  type RouteDescription,
  refusals,
  UPLOAD_HEADERS,
  UPLOAD_REFUSALS,
  URL_REFUSALS,
} from '../routes/describe.ts'
import { EXPIRY_OPTIONS } from '../routes/schemas.ts'

/** What `/openapi.json` says of the adapters. */

const tags = ['Adapters']
const string = { type: 'string' }
const uri = { type: 'string', format: 'uri' }
const integer = { type: 'integer' }
const file = { type: 'string', format: 'binary', contentMediaType: 'application/octet-stream' }

function exactly(properties: object) {
  return { type: 'object', required: Object.keys(properties), properties, additionalProperties: false }
}

const form = (properties: object, required: string[] = Object.keys(properties)) => ({
  content: { 'multipart/form-data': { schema: { type: 'object', required, properties } } },
})

/** Fetching from a URL adds its codes to those of a form. */
const WITH_URL: readonly ErrorCode[] = [
  ...UPLOAD_REFUSALS,
  ...FORM_REFUSALS,
  ...URL_REFUSALS.filter((code) => code.startsWith('url_')),
  'lifetime_invalid',
]

const CHEVERETO_PROBLEM = exactly({
  status_code: integer,
  error: exactly({ message: string, code: integer, context: string }),
  status_txt: string,
})
const CHEVERETO_DONE = exactly({
  status_code: { const: 200 },
  success: exactly({ message: string, code: { const: 200 } }),
  image: {
    type: 'object',
    required: ['url', 'delete_url', 'mime', 'size', 'width', 'height'],
    properties: {
      url: uri,
      delete_url: uri,
      mime: string,
      size: integer,
      width: integer,
      height: integer,
      md5: { type: ['string', 'null'] },
      expiration_date_gmt: { type: ['string', 'null'] },
    },
  },
  status_txt: { const: 'OK' },
})

export const CHEVERETO = describe({
  operationId: 'uploadAsToChevereto',
  tags,
  summary: 'Upload an image as to Chevereto',
  description: 'The key may also come as the header `X-API-Key`, or as `key` in the query.',
  ...EXPIRY_OPTIONS,
  body: form({ source: file, expiration: { ...string, description: 'Like PT5M or P3D.' } }, ['source']),
  response: {
    200: answerIn(
      { 'application/json': CHEVERETO_DONE, 'text/plain': uri },
      'The image is stored. Its URL alone with `format=txt`.',
      UPLOAD_HEADERS,
    ),
    ...refusals({ 'application/json': CHEVERETO_PROBLEM }, ...WITH_URL),
  },
})

const LSKY_DONE = exactly({
  status: { const: true },
  message: string,
  data: exactly({
    ...{ key: string, name: string, pathname: string, origin_name: string },
    size: { type: 'number', description: 'In units of 1024 bytes.' },
    ...{ mimetype: string, extension: string, md5: string, sha1: string },
    links: exactly({
      ...{ url: uri, html: string, bbcode: string, markdown: string, markdown_with_link: string },
      ...{ thumbnail_url: uri, delete_url: uri },
    }),
  }),
})
const LSKY_PROBLEM = exactly({ status: { const: false }, message: string, data: exactly({}) })

export const LSKY = describe({
  operationId: 'uploadAsToLsky',
  tags,
  summary: 'Upload an image as to Lsky Pro',
  ...EXPIRY_OPTIONS,
  body: form({ file }),
  response: {
    200: json('The image is stored.', LSKY_DONE, UPLOAD_HEADERS),
    ...refusals({ 'application/json': LSKY_PROBLEM }, ...UPLOAD_REFUSALS, ...FORM_REFUSALS),
  },
})

const urls = { type: 'array', items: uri }
const PICGO_PROBLEM = {
  type: 'object',
  required: ['success', 'result', 'message', 'msg'],
  properties: {
    success: { const: false },
    result: { ...urls, description: 'Those that are stored all the same.' },
    ...{ message: string, msg: string },
    errors: { type: 'array', items: exactly({ file: integer, code: string, message: string }) },
  },
  additionalProperties: false,
}

/** Of the answer to several files only some of the headers of one. */
const several = (description: string, schemas: Record<string, object>) =>
  answerIn(schemas, description, { ...UPLOAD_HEADERS, ...NO_STORE, ...NO_SNIFFING })

export const PICGO = describe({
  operationId: 'uploadAsToPicGo',
  tags,
  summary: 'Upload images as to the server of PicGo or PicList',
  description: 'The key may also come as `key` in the query. Each file may be in a part of any name.',
  ...EXPIRY_OPTIONS,
  body: form({ files: { type: 'array', items: file, minItems: 1, maxItems: 20 } }),
  response: {
    200: json('All are stored.', exactly({ success: { const: true }, result: urls }), UPLOAD_HEADERS),
    207: several('Some are stored.', { 'application/json': PICGO_PROBLEM }),
    ...refusals(
      { 'application/json': PICGO_PROBLEM },
      ...[...UPLOAD_REFUSALS, ...FORM_REFUSALS, 'paths_refused' as const],
    ),
  },
})

const TEXT = { 'text/plain': string }
const TEXT_HEADERS = {
  ...UPLOAD_HEADERS,
  'X-Url-Delete': header('Deletes the image, without a key.'),
  'X-Expires': header('When it expires, in Unix milliseconds. Missing if never.', 'integer'),
}
const headers = {
  type: 'object',
  properties: {
    ...EXPIRY_OPTIONS.headers.properties,
    'max-days': { type: 'integer', minimum: 1, description: 'Days for which the image lives.' },
  },
}

const ofPlain = (operationId: string, more: Omit<RouteDescription, 'operationId' | 'tags'>) =>
  describe({
    operationId,
    tags,
    description: 'The key may also come as the password of HTTP Basic.',
    ...{ querystring: EXPIRY_OPTIONS.querystring, headers },
    ...more,
  })

const put = {
  body: { content: { 'application/octet-stream': { schema: file } } },
  response: {
    200: answerIn(TEXT, 'The image’s URL, without a line break.', TEXT_HEADERS),
    ...refusals(TEXT, ...UPLOAD_REFUSALS, 'lifetime_invalid', 'option_refused'),
  },
}

export const PLAIN = {
  post: ofPlain('uploadAsText', {
    summary: 'Upload images as to 0x0, or several as to transfer.sh',
    body: form({ file, expires: { ...integer, description: 'Hours, or Unix milliseconds.' } }, ['file']),
    response: {
      200: answerIn(TEXT, 'All are stored: a line each, with its URL.', TEXT_HEADERS),
      207: several('Some are stored: a line each, with its URL, or `error:` and why not.', TEXT),
      ...refusals(TEXT, ...WITH_URL, 'option_refused'),
    },
  }),
  put: ofPlain('putAsText', { summary: 'Upload an image as to transfer.sh, without a name', ...put }),
  putNamed: ofPlain('putNamedAsText', {
    summary: 'Upload an image as to transfer.sh',
    params: {
      type: 'object',
      required: ['name'],
      properties: { name: { ...string, description: 'Not used.' } },
    },
    ...put,
  }),
}
