import type { FastifyInstance } from 'fastify'
import type { Deps } from './deps.ts'

/** How long the answer to `/readyz` holds, in milliseconds. */
const CHECK_INTERVAL = 1000

/** What is asked by machines that are neither uploaders nor models' fetchers: crawlers and whoever watches the process. */
export function system(app: FastifyInstance, { store }: Deps): void {
  // Models' fetchers obey robots.txt, and a host without one is fetched from, but asked twice.
  app.get('/robots.txt', async (_request, reply) => {
    return reply.type('text/plain; charset=utf-8').send('User-agent: *\nAllow: /\n')
  })

  app.get('/healthz', async (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  )

  // Anybody may ask, and a check writes to the disk, so those who ask within a second share one.
  let lastCheck = { at: Number.NEGATIVE_INFINITY, result: Promise.resolve() }
  app.get('/readyz', async (_request, reply) => {
    const at = performance.now()
    if (at - lastCheck.at >= CHECK_INTERVAL) lastCheck = { at, result: store.check() }
    await lastCheck.result
    return reply.header('cache-control', 'no-store').send({ status: 'ok' })
  })
}
