import type { FastifyInstance, onRequestAsyncHookHandler } from 'fastify'
import type { Admission } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import { keyOf } from '../keys.ts'
import { quotaOf } from '../limits.ts'
import { listOwn } from '../list-own.ts'
import { type ImageName, imageId, isExpired, parseId } from '../name.ts'
import { ObjectNotFound } from '../store/store.ts'
import type { Deps } from './deps.ts'
import { describe, ENTRY_REFUSALS, json, NO_STORE, refusals } from './describe.ts'
import { allFactsOf, factsOf } from './facts.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { look, ownImage } from './own-image.ts'
import { ID_PARAM } from './schemas.ts'
import { clientGone } from './take-upload.ts'

/** What only the bytes could say. */
const UNKNOWN = { width: null, height: null, animated: null, compatibility: null }

const PAGE = { usual: 20, most: 100 }

/** What a key may know of what it uploaded, and do with it: `/v1/files/uploads`, the rest of it, and `/v1/files/usage`. */
export function ownFiles(
  app: FastifyInstance,
  deps: Deps,
  mayEnter: onRequestAsyncHookHandler,
  doors: Admission,
): void {
  const { config, store, usage, secret, now } = deps

  app.get('/v1/files/uploads/:id', { onRequest: mayEnter, schema: SCHEMAS.get }, async (request, reply) => {
    const name = ownImage(request, secret)
    const expired = isExpired(name, now())
    const found = await look(name, { request, reply }, deps).catch((error) => {
      // It has been swept, but its name still says what it was.
      if (expired && error instanceof ObjectNotFound) return undefined
      throw error
    })
    const facts = found ? allFactsOf(name, found, deps) : { ...factsOf(name, null, deps), ...UNKNOWN }
    return reply.header('cache-control', 'no-store').send({ ...facts, expired })
  })

  app.delete('/v1/files/uploads/:id', { onRequest: mayEnter, schema: SCHEMAS.delete }, async (request) => {
    const name = ownImage(request, secret)
    await whileClientWaits(request.raw, remove(name, keyOf(request).id, deps))
    return { id: imageId(name), deleted: true }
  })

  app.get('/v1/files/uploads', { onRequest: mayEnter, schema: SCHEMAS.list }, async (request, reply) => {
    const { limit, after } = readPage(request.query as Record<string, unknown>)
    const signal = clientGone(reply)
    const keyId = keyOf(request).id
    const { raw } = request
    using _turn = await whileClientWaits(raw, doors.list(keyId, signal))
    const page = listOwn(store, { keyId, signal, secret, limit, after, now: now() })
    const { images, hasMore } = await whileClientWaits(raw, page)
    const data = images.map(({ name, size }) => ({
      ...factsOf(name, size, deps),
      created_at: new Date(name.created * 1000).toISOString(),
    }))
    return reply
      .header('cache-control', 'no-store')
      .send({ object: 'list', data, has_more: hasMore, last_id: data.at(-1)?.id ?? null })
  })

  app.get('/v1/files/usage', { onRequest: mayEnter, schema: SCHEMAS.usage }, async (request, reply) => {
    const key = keyOf(request)
    const { limit, window } = quotaOf(key, config)
    const { used, reserved, freeAt } = await usage.read({ key: key.id, window, now: now() })
    const { count, seconds } = key.rateLimit ?? config.rateLimit
    return reply.header('cache-control', 'no-store').send({
      quota: {
        limit: limit || null,
        used,
        reserved,
        window_seconds: window,
        free_at: freeAt === undefined ? null : new Date(freeAt).toISOString(),
      },
      rate_limit: count === 0 ? null : { limit: count, window_seconds: seconds },
    })
  })

  refuseOtherMethods(app, '/v1/files/usage', ['GET', 'HEAD'])
  refuseOtherMethods(app, '/v1/files/uploads/:id', ['GET', 'HEAD', 'DELETE'])
}

/** Deletes an image, or takes back a link that nobody has used. Rejects if there is neither. */
async function remove(name: ImageName, keyId: string, { store, presign, receipts }: Deps): Promise<void> {
  if (await presign?.revoke(name, keyId)) return
  await store.stat(name.text)
  await store.delete(name.text)
  await receipts?.forget(name)
}

function readPage({ limit = String(PAGE.usual), after }: Readonly<Record<string, unknown>>) {
  const count = typeof limit === 'string' && /^\d{1,3}$/.test(limit) ? Number(limit) : 0
  const cursor = typeof after === 'string' ? parseId(after) : undefined
  if (count < 1 || count > PAGE.most || (after !== undefined && cursor === undefined))
    throw problem('cursor_invalid')
  return { limit: count, after: cursor }
}

const tags = ['Files']
const params = ID_PARAM
const OWNER_REFUSALS = [...ENTRY_REFUSALS, 'image_not_found', 'store_unavailable'] as const

const SCHEMAS = {
  get: describe({
    operationId: 'getUpload',
    tags,
    summary: 'What is known of an image that you uploaded',
    params,
    response: {
      200: json('The image’s facts.', { $ref: 'ImageState#' }, NO_STORE),
      ...refusals('Error', ...OWNER_REFUSALS, 'server_busy'),
    },
  }),
  delete: describe({
    operationId: 'deleteUpload',
    tags,
    summary: 'Delete an image that you uploaded',
    params,
    response: { 200: json('It is gone.', { $ref: 'Deleted#' }), ...refusals('Error', ...OWNER_REFUSALS) },
  }),
  list: describe({
    operationId: 'listUploads',
    tags,
    summary: 'Your live images, the newest first',
    description: 'Costs as much as there are images on the server, whoever uploaded them: there is no index.',
    querystring: {
      type: 'object',
      properties: {
        limit: { type: 'integer', minimum: 1, maximum: PAGE.most, default: PAGE.usual },
        after: { type: 'string', description: 'The `last_id` of the page before.' },
      },
    },
    response: {
      200: json('A page.', { $ref: 'ImageList#' }, NO_STORE),
      ...refusals('Error', ...ENTRY_REFUSALS, 'cursor_invalid', 'server_busy', 'store_unavailable'),
    },
  }),
  usage: describe({
    operationId: 'getUsage',
    tags,
    summary: 'How much your key has used, and may use',
    response: {
      200: json('The numbers of your key.', { $ref: 'Usage#' }, NO_STORE),
      ...refusals('Error', ...ENTRY_REFUSALS),
    },
  }),
}
