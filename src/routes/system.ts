import type { FastifyInstance } from 'fastify'
import { readiness } from '../readiness.ts'
import type { Deps } from './deps.ts'
import { answerIn, describe, header, json, NO_STORE, refusals } from './describe.ts'
import { refuseOtherMethods } from './other-methods.ts'

/** What is asked by machines that are neither uploaders nor models' fetchers: crawlers and whoever watches the process. */
export function system(app: FastifyInstance, { store, usage, spool }: Deps): void {
  // Models' fetchers obey robots.txt, and a host without one is fetched from, but asked twice.
  app.get('/robots.txt', { schema: SCHEMAS.robots }, async (_request, reply) => {
    return reply.type('text/plain; charset=utf-8').send('User-agent: *\nAllow: /\n')
  })

  app.get('/healthz', { schema: SCHEMAS.healthz }, async (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  )

  const look = readiness({ store, usage, spool, log: app.log })
  app.get('/readyz', { schema: SCHEMAS.readyz }, async (_request, reply) => {
    const found = await look()
    reply.header('cache-control', 'no-store')
    if (found.status === 'unavailable') reply.code(503).header('retry-after', '5')
    return reply.send(found)
  })

  for (const url of ['/robots.txt', '/healthz', '/readyz']) refuseOtherMethods(app, url, ['GET', 'HEAD'])
}

const tags = ['System']
const isOpen = true
const OK = { $ref: 'Ok#' }

const RETRY = header('Seconds after which to try again.', 'integer')
const READINESS = { $ref: 'Readiness#' }

const SCHEMAS = {
  robots: describe({
    operationId: 'getRobots',
    tags,
    isOpen,
    summary: 'Lets every crawler in, as models’ fetchers ask',
    response: { 200: answerIn({ 'text/plain': { type: 'string' } }, 'The rules.'), ...refusals('Error') },
  }),
  healthz: describe({
    operationId: 'getHealth',
    tags,
    isOpen,
    summary: 'Whether the process runs',
    response: { 200: json('It does.', OK, NO_STORE), ...refusals('Error') },
  }),
  readyz: describe({
    operationId: 'getReadiness',
    tags,
    isOpen,
    summary: 'Whether images can be served, and uploads taken',
    description:
      '503 only while images cannot be served. `degraded`: they can, but uploads may be refused. Those who ask within a second share one check.',
    response: {
      200: json('Images can be served.', READINESS, NO_STORE),
      ...refusals('Error'),
      503: json('The store cannot be used.', READINESS, { ...NO_STORE, 'Retry-After': RETRY }),
    },
  }),
}
