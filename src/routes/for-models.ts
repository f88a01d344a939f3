import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import { FORMATS } from '../formats.ts'
import { type ImageName, imageId, isExpired } from '../name.ts'
import { ENCODED_PIECE, encoded, encodedSize } from '../vision/base64-encoder.ts'
import { explainCompatibility } from '../vision/compatibility.ts'
import type { Deps } from './deps.ts'
import {
  answerIn,
  describe,
  ENTRY_REFUSALS,
  HIDDEN,
  header,
  json,
  NO_SNIFFING,
  NO_STORE,
  refusals,
} from './describe.ts'
import { expiryOf } from './facts.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { look, ownImage } from './own-image.ts'
import { ID_PARAM } from './schemas.ts'

const COMPATIBILITY = '/v1/files/uploads/:id/compatibility'
const DATA_URL = '/v1/files/uploads/:id/data-url'

/** What is asked of an image before it is shown to a model: which APIs take it, and the image as text for those that fetch nothing. */
export function forModels(app: FastifyInstance, deps: Deps, mayEnter: onRequestAsyncHookHandler): void {
  const { store, secret, now } = deps

  function liveImage(request: FastifyRequest): ImageName {
    const name = ownImage(request, secret)
    if (isExpired(name, now())) throw problem('image_expired', { expires: expiryOf(name) })
    return name
  }

  app.get(COMPATIBILITY, { onRequest: mayEnter, schema: SCHEMAS.compatibility }, async (request, reply) => {
    const name = liveImage(request)
    const { size, ...found } = await look(name, { request, reply }, deps)
    const { format } = name
    const image = { id: imageId(name), mime_type: FORMATS[format].mediaType, size, ...found }
    return reply
      .header('cache-control', 'no-store')
      .send({ ...image, ...explainCompatibility({ bytes: size, format, ...found }) })
  })

  const ofDataUrl = { onRequest: mayEnter, schema: SCHEMAS.dataUrl, exposeHeadRoute: false }
  app.get(DATA_URL, ofDataUrl, async (request, reply) => {
    const name = liveImage(request)
    const { size, body } = await whileClientWaits(request.raw, store.open(name.text))
    return sendDataUrl(request, reply, { name, size, body })
  })
  // The framework's own HEAD would read all of it, and says a length of 0.
  app.head(DATA_URL, { onRequest: mayEnter, schema: HIDDEN }, async (request, reply) => {
    const name = liveImage(request)
    const { size } = await whileClientWaits(request.raw, store.stat(name.text))
    return sendDataUrl(request, reply, { name, size })
  })

  refuseOtherMethods(app, COMPATIBILITY, ['GET', 'HEAD'])
  refuseOtherMethods(app, DATA_URL, ['GET', 'HEAD'])
}

/** With its exact length, which is known before the first byte. Without a body, as HEAD gets it. */
function sendDataUrl(
  { headers: { accept = '' } }: FastifyRequest,
  reply: FastifyReply,
  { name, size, body }: { name: ImageName; size: number; body?: Readable },
) {
  const { mediaType } = FORMATS[name.format]
  const wantsText = /text\/plain/.test(accept) && !/application\/json/.test(accept)
  const facts = JSON.stringify({ id: imageId(name), mime_type: mediaType, size, data_url: '' })
  // Between the quotes of the last, empty member.
  const [start, end] = wantsText ? ['', ''] : [facts.slice(0, -2), facts.slice(-2)]
  const before = `${start}data:${mediaType};base64,`
  reply
    .type(wantsText ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8')
    .headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    .header('content-length', before.length + encodedSize(size) + end.length)
  if (body === undefined) return reply.send('')
  async function* text(image: Readable): AsyncGenerator<string> {
    yield before
    yield* encoded(image)
    yield end
  }
  const stream = Readable.from(text(body), { objectMode: false, highWaterMark: ENCODED_PIECE })
  // A client that leaves before the first piece is read does not end the loop over the image.
  return reply.send(stream.once('close', () => body.destroy()))
}

const common = { tags: ['Files'], params: ID_PARAM }
const REFUSALS = [...ENTRY_REFUSALS, 'image_not_found', 'image_expired', 'store_unavailable'] as const

const SCHEMAS = {
  compatibility: describe({
    ...common,
    operationId: 'getCompatibility',
    summary: 'Which models’ APIs take an image, and why others do not',
    description:
      'By a table of documented and measured limits, each with its source and date. The image is not decoded.',
    response: {
      200: json('Each API that is known.', { $ref: 'Compatibility#' }, NO_STORE),
      ...refusals('Error', ...REFUSALS, 'server_busy'),
    },
  }),
  dataUrl: describe({
    ...common,
    operationId: 'getDataUrl',
    summary: 'The image as a data: URL, for APIs that fetch nothing',
    response: {
      200: answerIn(
        { 'application/json': { $ref: 'DataUrl#' }, 'text/plain': { type: 'string' } },
        'With `Accept: text/plain`, the bare data: URL.',
        { ...NO_STORE, ...NO_SNIFFING, 'Content-Length': header('Bytes.', 'integer') },
      ),
      ...refusals('Error', ...REFUSALS, 'server_busy'),
    },
  }),
}
