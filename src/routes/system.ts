import type { FastifyInstance } from 'fastify'
import type { Deps } from './deps.ts'

/** What is asked by machines that are neither uploaders nor models' fetchers: crawlers and whoever watches the process. */
export function system(app: FastifyInstance, { store }: Deps): void {
  // Models' fetchers obey robots.txt, and a host without one is fetched from, but asked twice.
  app.get('/robots.txt', async (_request, reply) => {
    return reply.type('text/plain; charset=utf-8').send('User-agent: *\nAllow: /\n')
  })

  app.get('/healthz', async (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  )

  app.get('/readyz', async (_request, reply) => {
    await store.check()
    return reply.header('cache-control', 'no-store').send({ status: 'ok' })
  })
}
