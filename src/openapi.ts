import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { refuseOtherMethods } from './routes/other-methods.ts'
import { SHARED_SCHEMAS } from './routes/schemas.ts'

/** The pages come from this server alone, also where it speaks http. */
const DOCS_CSP =
  "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

/**
 * `/openapi.json`, made from what the routes say of themselves, and pages to read it at `/docs`. To be called before there are
 * routes. `serverUrl` is asked for when the server listens.
 */
export async function describeApi(app: FastifyInstance, serverUrl: () => string): Promise<void> {
  // Routes check what comes in by hand and answer with what they say: a schema tells people, not the program.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  for (const schema of SHARED_SCHEMAS) app.addSchema(schema)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Layover',
        version: '0.1.0',
        description:
          'Images on their way to a vision model: upload one with your key, pass its URL to the model, and it is gone when its time is over.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    },
    refResolver: { buildLocalReference: ({ $id }) => String($id) },
  })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_CSP })
  // Made once, and the same bytes for all: neither many requests nor many slow readers cost
  // anything.
  let document: Buffer | undefined
  app.get('/openapi.json', { schema: { hide: true } as object }, async (_request, reply) => {
    document ??= Buffer.from(JSON.stringify({ ...app.swagger(), servers: [{ url: serverUrl() }] }))
    return reply.type('application/json; charset=utf-8').send(document)
  })
  for (const url of ['/openapi.json', '/docs', '/docs/json', '/docs/yaml', '/docs/static/*'])
    refuseOtherMethods(app, url, ['GET', 'HEAD'])
}
