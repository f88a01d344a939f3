import type { FastifyInstance, onRequestAsyncHookHandler } from 'fastify'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import { imageId, isExpired } from '../name.ts'
import { whyNoReceipts } from '../open-receipts.ts'
import type { Receipt } from '../receipts/receipts.ts'
import type { Deps } from './deps.ts'
import { describe, ENTRY_REFUSALS, json, NO_STORE, refusals } from './describe.ts'
import { expiryOf } from './facts.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { ownImage } from './own-image.ts'
import { ID_PARAM } from './schemas.ts'

/** What the server's operator can read more of in its log. */
const BROKEN = 'Receipts cannot be kept at the moment: the server’s log says why.'

const FETCHES = '/v1/files/uploads/:id/fetches'

/** `GET /v1/files/uploads/{id}/fetches`: who has fetched an image, for the key that uploaded it. */
export function fetches(app: FastifyInstance, deps: Deps, mayEnter: onRequestAsyncHookHandler): void {
  const { config, store, receipts, secret, now } = deps

  app.get(FETCHES, { onRequest: mayEnter, schema: SCHEMA }, async (request, reply) => {
    const name = ownImage(request, secret)
    if (isExpired(name, now())) throw problem('image_expired', { expires: expiryOf(name) })
    await whileClientWaits(request.raw, store.stat(name.text))
    const found = await receipts?.read(name).catch((err) => {
      request.log.error({ err }, 'receipts of fetches cannot be read')
    })
    const reason = whyNoReceipts(config) ?? (found ? null : BROKEN)
    return reply.header('cache-control', 'no-store').send({
      id: imageId(name),
      recorded: reason === null,
      reason,
      total: found?.total ?? 0,
      fetches: found?.latest.map(shown) ?? [],
    })
  })

  refuseOtherMethods(app, FETCHES, ['GET', 'HEAD'])
}

function shown({ at, network, ...receipt }: Receipt) {
  return { at: new Date(at).toISOString(), ...receipt, network }
}

const SCHEMA = describe({
  operationId: 'listFetches',
  tags: ['Files'],
  summary: 'Who has fetched an image that you uploaded',
  description:
    'Whether a model really got it: the last 100 requests for the image, GET and HEAD, the newest first. A fetch is there at most some two seconds after its end.',
  params: ID_PARAM,
  response: {
    200: json('The fetches.', { $ref: 'Fetches#' }, NO_STORE),
    ...refusals(
      'Error',
      ...ENTRY_REFUSALS,
      'image_not_found',
      'image_expired',
      'server_busy',
      'store_unavailable',
    ),
  },
})
