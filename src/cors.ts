import cors, { type FastifyCorsOptions } from '@fastify/cors'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isAdapterPath } from './adapters/paths.ts'
import type { Config } from './config.ts'
import { problem } from './errors.ts'

/** What is for uploaders stands below these. */
const UPLOADERS_PATHS = ['/api', '/v1', '/incoming']

/** Lets pages of other origins use all that is for uploaders, and read there, too, that an address does not exist. */
export async function letPagesIn(
  uploads: FastifyInstance,
  config: Config,
  origin: '*' | string[],
  notFound: (request: FastifyRequest, reply: FastifyReply) => void,
): Promise<void> {
  // The library's route for preflights takes those for any address.
  uploads.addHook('onRequest', async ({ url, routeOptions }) => {
    const isOurs =
      UPLOADERS_PATHS.some((path) => url.startsWith(`${path}/`)) || isAdapterPath(url, config.adapters)
    if (routeOptions.url === '*' && !isOurs) throw problem('not_found')
  })
  await uploads.register(cors, corsOptions(origin))
  for (const prefix of UPLOADERS_PATHS)
    await uploads.register(async (below) => void below.setNotFoundHandler(notFound), { prefix })
}

/** Pages may read what the answers say in their headers, and need to ask once a day whether they may. */
function corsOptions(origin: '*' | string[]): FastifyCorsOptions {
  const exposedHeaders = [
    'X-Request-Id',
    'X-Layover-Id',
    'X-Layover-Expires-At',
    'X-Layover-Delete-Url',
    'X-Layover-Fitted-Url',
  ]
  const limits = ['Retry-After', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset']
  return {
    origin,
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
    exposedHeaders: [...exposedHeaders, ...limits],
    maxAge: 86_400,
    strictPreflight: false,
  }
}
