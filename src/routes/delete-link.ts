import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isDeleteToken } from '../delete-link.ts'
import { problem } from '../errors.ts'
import { type ImageName, imageId, parseName } from '../name.ts'
import type { Deps } from './deps.ts'
import { answerIn, describe, header, json, NO_SNIFFING, NO_STORE, refusals } from './describe.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { NAME } from './schemas.ts'

/** Nothing on the page runs or is fetched, and nobody can put it into a frame to have it clicked. */
const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
  'referrer-policy': 'no-referrer',
  'x-robots-tag': 'noindex',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
}

/**
 * `/delete/<name>?token=…`: deletes an image without a key. A GET only asks, as programs that preview links, and browsers that fetch
 * ahead, send one without anybody having meant to delete.
 */
export function deleteLinks(app: FastifyInstance, { store, receipts, secret }: Deps): void {
  const url = '/delete/:name'

  function imageOf({ params, query }: FastifyRequest): ImageName {
    const name = parseName((params as { name: string }).name)
    const { token } = query as { token?: unknown }
    if (name === undefined || !isDeleteToken(name, token, secret)) throw problem('delete_link_wrong')
    return name
  }

  app.get(url, { schema: SCHEMAS.ask }, async (request, reply) => {
    const name = imageOf(request)
    await store.stat(name.text)
    return reply
      .headers(PAGE_HEADERS)
      .send(page('Delete this image?', '<form method="post"><button>Delete</button></form>'))
  })

  const deleteImage = async (request: FastifyRequest, reply: FastifyReply) => {
    const name = imageOf(request)
    await store.stat(name.text)
    await store.delete(name.text)
    await receipts?.forget(name)
    const wantsPage = request.method === 'POST' && /text\/html/.test(request.headers.accept ?? '')
    if (wantsPage) return reply.headers(PAGE_HEADERS).send(page('The image is deleted.', ''))
    return reply.header('cache-control', 'no-store').send({ id: imageId(name), deleted: true })
  }
  app.post(url, { schema: SCHEMAS.post }, deleteImage)
  app.delete(url, { schema: SCHEMAS.delete }, deleteImage)

  refuseOtherMethods(app, url, ['GET', 'HEAD', 'POST', 'DELETE'])
}

function page(text: string, more: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${text}</title><h1>${text}</h1>${more}</html>
`
}

const DELETED = { $ref: 'Deleted#' }
const PAGE = { 'text/html': { type: 'string' } }
const PAGE_ANSWER_HEADERS = {
  ...NO_STORE,
  ...NO_SNIFFING,
  'Content-Security-Policy': header('Nothing runs in the page, and no other page can frame it.'),
  'Referrer-Policy': header('`no-referrer`, as the address is the key.'),
  'X-Robots-Tag': header('`noindex`.'),
}

const common = {
  tags: ['Delete links'],
  isOpen: true,
  params: { type: 'object', required: ['name'], properties: { name: NAME } },
  querystring: {
    type: 'object',
    required: ['token'],
    properties: { token: { type: 'string', description: 'As the `delete_url` of an upload has it.' } },
  },
}
const refused = refusals('Error', 'delete_link_wrong', 'image_not_found', 'store_unavailable')

const SCHEMAS = {
  ask: describe({
    ...common,
    operationId: 'askToDelete',
    summary: 'A page that asks whether to delete the image',
    response: {
      200: answerIn(PAGE, 'It is there, and nothing has happened.', PAGE_ANSWER_HEADERS),
      ...refused,
    },
  }),
  post: describe({
    ...common,
    operationId: 'deleteByLink',
    summary: 'Delete an image, without a key',
    response: {
      200: answerIn(
        { 'application/json': DELETED, ...PAGE },
        'It is gone. A page for those that accept HTML.',
        {
          ...PAGE_ANSWER_HEADERS,
        },
      ),
      ...refused,
    },
  }),
  delete: describe({
    ...common,
    operationId: 'deleteByLinkAtOnce',
    summary: 'Delete an image, without a key',
    response: { 200: json('It is gone.', DELETED, NO_STORE), ...refused },
  }),
}
