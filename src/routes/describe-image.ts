import { type Answer, answerIn, bodiless, describe, header, NO_SNIFFING, refusals } from './describe.ts'
import { NAME } from './schemas.ts'

/** The image itself, in each of its types. */
const BYTES = Object.fromEntries(
  ['image/jpeg', 'image/png', 'image/gif', 'image/webp'].map((type) => [type, { contentMediaType: type }]),
)

const VALIDATORS = {
  ETag: header('Names the image; it never changes.'),
  'Last-Modified': header('When it was uploaded.'),
  'Cache-Control': header('Caches may keep it until it expires, and no longer.'),
  ...NO_SNIFFING,
  'Content-Security-Policy': header('Nothing in it runs, should it be a page as well.'),
  'Cross-Origin-Resource-Policy': header('`cross-origin`: any page may show it.'),
  'Access-Control-Allow-Origin': header('`*`: any page may read it.'),
  'X-Robots-Tag': header('`noindex`.'),
}
const WHOLE = {
  ...VALIDATORS,
  'Content-Length': header('Bytes.', 'integer'),
  'Accept-Ranges': header('`bytes`.'),
}
const PART = { ...WHOLE, 'Content-Range': header('Which bytes of how many: `bytes 0-9/67`.') }

const text = (description: string) => ({ type: 'string', description })

const conditions = {
  'if-none-match': text('ETags; 304 if the image’s is one of them.'),
  'if-modified-since': text('A date; 304 unless the image is newer.'),
  'if-match': text('ETags; 412 unless the image’s is one of them.'),
  'if-unmodified-since': text('A date; 412 if the image is newer.'),
}
const ranges = {
  range: text('One range of bytes, such as `bytes=0-9`. Several are answered with the whole.'),
  'if-range': text('The ETag or date for which the range holds.'),
}

const common = {
  tags: ['Images'],
  isOpen: true,
  params: {
    type: 'object',
    required: ['year', 'month', 'name'],
    properties: {
      year: { type: 'string', pattern: '^[0-9]{4,}$' },
      month: { type: 'string', pattern: '^[0-9]{2}$' },
      name: NAME,
    },
  },
}

const unchanged: Answer = {
  ...answerIn({}, 'What the client has is still good.', VALIDATORS),
  type: 'null',
}
const whole = answerIn(BYTES, 'The image, as it was uploaded.', WHOLE)
const refused = (...more: ('range_not_satisfiable' | 'server_busy')[]) =>
  refusals('Error', 'image_not_found', 'image_expired', 'precondition_failed', 'store_unavailable', ...more)

/** What `/openapi.json` says of an image's own address. */
export const IMAGE_SCHEMAS = {
  get: describe({
    ...common,
    operationId: 'getImage',
    summary: 'Fetch an image',
    headers: { type: 'object', properties: { ...conditions, ...ranges } },
    response: {
      200: whole,
      206: answerIn(BYTES, 'The bytes that Range asks for.', PART),
      304: unchanged,
      ...refused('range_not_satisfiable', 'server_busy'),
    },
  }),
  head: describe({
    ...common,
    operationId: 'headImage',
    summary: 'What a GET would answer, without the bytes',
    headers: { type: 'object', properties: conditions },
    response: bodiless({ 200: whole, 304: unchanged, ...refused() }),
  }),
}
