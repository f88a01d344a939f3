import type { FastifyContextConfig, FastifyInstance } from 'fastify'
import { problemWith } from '../errors.ts'
import { HIDDEN } from './describe.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** Answers 405, with the methods that an address takes, to all others. */
export function refuseOtherMethods(
  app: FastifyInstance,
  url: string,
  allowed: readonly string[],
  config: FastifyContextConfig = {},
): void {
  app.route({
    method: METHODS.filter((method) => !allowed.includes(method)),
    url,
    schema: HIDDEN,
    config,
    handler: async () => {
      const headers = { allow: allowed.join(', ') }
      throw problemWith('method_not_allowed', { headers }, { allow: allowed.join(' and ') })
    },
  })
}
