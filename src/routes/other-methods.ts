import { METHODS } from 'node:http'
import type { ConnectionError, FastifyContextConfig, FastifyInstance, FastifyRequest } from 'fastify'
import { type Problem, problem, problemWith } from '../errors.ts'
import { HIDDEN } from './describe.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What `refuseOtherMethods` was told of; the same list in all plugins. */
    readonly knownPaths: KnownPath[]
  }
}

interface KnownPath {
  readonly path: RegExp
  /** Of two that a path matches, the router takes the one with fewer. */
  readonly parameters: number
  readonly allowed: readonly string[]
}

/** Bytes in which a request line is looked for. */
const LONGEST_LINE = 4096

/**
 * Those that have a route for each address. The others have none, as that would take longer at each
 * start than all other routes.
 */
const ROUTED = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** To be called before there are routes. */
export function keepKnownPaths(app: FastifyInstance): void {
  app.decorate('knownPaths', [])
  // As one without a body, or the framework refuses it by itself if it has no Content-Type.
  app.addHttpMethod('QUERY', { overrideExisting: true })
}

/** Answers 405, with the methods that an address takes, to all others. */
export function refuseOtherMethods(
  app: FastifyInstance,
  url: string,
  allowed: readonly string[],
  config: FastifyContextConfig = {},
): void {
  app.knownPaths.push({ path: patternOf(url), parameters: url.split(':').length, allowed })
  app.route({
    method: ROUTED.filter((method) => !allowed.includes(method)),
    url,
    schema: HIDDEN,
    config,
    handler: async () => {
      throw notAllowed(allowed)
    },
  })
}

/**
 * What to answer to a request without a route: 405 if there is something at its address and its
 * method is one of HTTP's rarer ones (TRACE, PROPFIND …), else 404.
 */
export function routeMissing({ method, url, server }: FastifyRequest): Problem {
  return ROUTED.includes(method) ? problem('not_found') : otherMethod(url, server.knownPaths)
}

/** The start of a request line, as it came. */
const REQUEST_LINE = /^([\w!#$%&'*+.^`|~-]+) (\/\S*) HTTP\/1\.[01]\r?\n/

/**
 * The same for a method that Node's parser does not know, for which there is no request; undefined
 * if what came is no request at all.
 */
export function methodUnknown(error: ConnectionError, { knownPaths }: FastifyInstance): Problem | undefined {
  if (error.code !== 'HPE_INVALID_METHOD') return undefined
  // A Buffer, whatever the framework's type says.
  const packet = error.rawPacket as unknown as Buffer
  const [, method = '', url] = REQUEST_LINE.exec(packet.toString('latin1', 0, LONGEST_LINE)) ?? []
  // A method that it knows is that of a request before, which came with this one.
  return url === undefined || METHODS.includes(method) ? undefined : otherMethod(url, knownPaths)
}

function otherMethod(url: string, knownPaths: readonly KnownPath[]): Problem {
  const [path = ''] = url.split('?')
  const [nearest] = knownPaths
    .filter((known) => known.path.test(path))
    .sort((one, other) => one.parameters - other.parameters)
  return nearest === undefined ? problem('not_found') : notAllowed(nearest.allowed)
}

function notAllowed(allowed: readonly string[]): Problem {
  const headers = { allow: allowed.join(', ') }
  return problemWith('method_not_allowed', { headers }, { allow: allowed.join(' and ') })
}

/** The paths that the router takes for a route's URL. */
function patternOf(url: string): RegExp {
  const parts = url.split('/').map((part) => {
    if (part === '*') return '.*'
    return part.startsWith(':') ? '[^/]+' : RegExp.escape(part)
  })
  return new RegExp(`^${parts.join('/')}$`)
}
