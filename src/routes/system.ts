import type { FastifyInstance } from 'fastify'
import type { Deps } from './deps.ts'
import { answerIn, describe, json, NO_STORE, refusals } from './describe.ts'

/** How long the answer to `/readyz` holds, in milliseconds. */
const CHECK_INTERVAL = 1000

/** What is asked by machines that are neither uploaders nor models' fetchers: crawlers and whoever watches the process. */
export function system(app: FastifyInstance, { store }: Deps): void {
  // Models' fetchers obey robots.txt, and a host without one is fetched from, but asked twice.
  app.get('/robots.txt', { schema: SCHEMAS.robots }, async (_request, reply) => {
    return reply.type('text/plain; charset=utf-8').send('User-agent: *\nAllow: /\n')
  })

  app.get('/healthz', { schema: SCHEMAS.healthz }, async (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  )

  // Anybody may ask, and a check writes to the disk, so those who ask within a second share one.
  let lastCheck = { at: Number.NEGATIVE_INFINITY, result: Promise.resolve() }
  app.get('/readyz', { schema: SCHEMAS.readyz }, async (_request, reply) => {
    const at = performance.now()
    if (at - lastCheck.at >= CHECK_INTERVAL) lastCheck = { at, result: store.check() }
    await lastCheck.result
    return reply.header('cache-control', 'no-store').send({ status: 'ok' })
  })
}

const tags = ['System']
const isOpen = true
const OK = { $ref: 'Ok#' }

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
    summary: 'Whether the store can be reached',
    description: 'Those who ask within a second share one check.',
    response: {
      200: json('It can.', OK, NO_STORE),
      ...refusals('Error', 'store_unavailable', 'storage_full'),
    },
  }),
}
