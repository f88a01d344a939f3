import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import cors, { type FastifyCorsOptions } from '@fastify/cors'
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify'
import { adapters, isAdapterPath } from './adapters.ts'
import { openAdmission } from './admission.ts'
import type { Config } from './config.ts'
import {
  answerBrokenRequest,
  closeAtStop,
  continueWhenWanted,
  isHoldingBack,
  refuseTunnels,
  takeInTurn,
} from './connection.ts'
import { deleteLink } from './delete-link.ts'
import { Problem, problem, problemWith } from './errors.ts'
import { imageUrl } from './image-url.ts'
import { machineNetwork, type Network } from './intake/remote/network.ts'
import { gate } from './limits.ts'
import { lingering } from './linger.ts'
import type { Metrics } from './metrics/metrics.ts'
import { type ImageName, imagePath } from './name.ts'
import { describeApi } from './openapi.ts'
import { openPresign } from './presign.ts'
import { problemTextFor } from './problem-text.ts'
import { logAtEnd } from './request-log.ts'
import { apiUpload } from './routes/api-upload.ts'
import { clients } from './routes/clients.ts'
import { deleteLinks } from './routes/delete-link.ts'
import type { Deps } from './routes/deps.ts'
import { fetches } from './routes/fetches.ts'
import { files } from './routes/files.ts'
import { forModels } from './routes/for-models.ts'
import { images } from './routes/images.ts'
import { ownFiles } from './routes/own-files.ts'
import { page } from './routes/page.ts'
import { presigned } from './routes/presign.ts'
import { system } from './routes/system.ts'
import { type IncomingArea, ObjectNotFound, StorageFull, StoreError } from './store/store.ts'
import { refuseDoubtful } from './syntax.ts'
import { UsageError } from './usage/usage.ts'
import { openFitter } from './vision/fitter.ts'

/** Seconds in which a request's headers must have arrived. */
const HEADERS_TIMEOUT = 10

/**
 * How much longer a connection is kept that waits for its next request: with the usual IDLE_TIMEOUT, longer than the minute for which
 * proxies keep theirs. Were we the first to close one, a request could be on its way.
 */
const KEPT_LONGER = 2.4

/** Characters of a part of a path that is anybody's to choose: a file name of 255 bytes, each of them encoded, fits. */
const LONGEST_NAME = 1024

/** What is for uploaders stands below these. */
const UPLOADERS_PATHS = ['/api', '/v1', '/incoming']

export interface AppOptions
  extends Omit<Deps, 'now' | 'urlOf' | 'ownUrlOf' | 'deleteUrlOf' | 'presign' | 'network' | 'fitter'> {
  /** Where uploads by link arrive; undefined for no such links. */
  readonly area: IncomingArea | undefined
  readonly log: FastifyBaseLogger
  /** Watches the requests, if anybody wants to know. */
  readonly metrics?: Pick<Metrics, 'watch'> | undefined
  /** Unix milliseconds; the clock's, unless a test says otherwise. */
  readonly now?: () => number
  /** The machine's, unless a test says otherwise. */
  readonly network?: Network
}

/** Puts the server together, in the order in which a request meets its parts. It does not listen yet. */
export async function buildApp({
  log,
  metrics,
  now = Date.now,
  network = machineNetwork,
  area,
  ...rest
}: AppOptions): Promise<FastifyInstance> {
  const { config } = rest
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestTimeout: config.uploadTimeout * 1000,
    connectionTimeout: config.idleTimeout * 1000,
    keepAliveTimeout: Math.round(KEPT_LONGER * config.idleTimeout * 1000),
    http: {
      // Node takes the longer of this and `requestTimeout` for the whole request.
      headersTimeout: Math.min(HEADERS_TIMEOUT, config.uploadTimeout) * 1000,
      connectionsCheckingInterval: 1000,
      // `refuseDoubtful` looks at it, as Node's own refusal says nothing.
      requireHostHeader: false,
    },
    // While stopping, what comes on a connection that is still open is answered, and the connection closed.
    return503OnClosing: false,
    trustProxy: config.trustProxy ?? false,
    routerOptions: { maxParamLength: LONGEST_NAME },
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: ({ code }, request, reply) => {
      takeInTurn(request, reply)
      logAtEnd(request, reply)
      answer(request, reply, problem(code === 'FST_ERR_BAD_URL' ? 'request_malformed' : 'not_found'))
    },
  })
  let base = ''
  // Kept from when the server listens: one that is stopping has no port any more, but still gives answers.
  app.addHook('onListen', async () => {
    base = publicUrlOf(app, config)
  })
  const ownUrlOf = (name: ImageName) => `${base}${config.uploadPath}/${imagePath(name)}`
  const urlOf = (name: ImageName) => imageUrl(name, base, config)
  const uploadUrlOf = (name: ImageName, ticket: string) => `${base}/incoming/${name.text}?ticket=${ticket}`
  const deleteUrlOf = (name: ImageName) => deleteLink(name, { base, secret: rest.secret })
  const doors = openAdmission(rest)
  app.addHook('onClose', async () => doors.close())
  const presign = area && openPresign({ ...rest, area, admission: doors, now, uploadUrlOf })
  const { store } = presign ?? rest
  const fitter = openFitter({ config, spool: rest.spool, digest: store.digest })
  app.addHook('onClose', async () => fitter.close())
  const deps: Deps = { ...rest, store, presign, fitter, now, network, urlOf, ownUrlOf, deleteUrlOf }

  // Before all other hooks: while one of them waits, the next request on the connection would take its turn.
  app.addHook('onRequest', takeInTurn)
  // Each part that has something to give back waits for the end: a dozen at the most, which is not a leak.
  app.addHook('onRequest', (_request, reply, done) => {
    reply.raw.setMaxListeners(20)
    done()
  })
  closeAtStop(app)
  app.decorate('minUploadRate', config.minUploadRate)
  app.decorate('paceWindow', config.idleTimeout)
  for (const fact of ['apiKey', 'taken', 'failure']) app.decorateRequest(fact, undefined)
  metrics?.watch(app)
  app.addHook('onRequest', logAtEnd)
  app.addHook('onRequest', refuseDoubtful)
  continueWhenWanted(app)
  refuseTunnels(app)
  app.setErrorHandler((error, request, reply) => answer(request, reply, toProblem(error)))
  const notFound = (request: FastifyRequest, reply: FastifyReply) =>
    answer(request, reply, problem('not_found'))
  app.setNotFoundHandler(notFound)

  await describeApi(app, () => base)

  // No body is read before a route asks for it; what a route does not want, it says itself.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  await app.register(async (uploads) => {
    if (config.corsOrigin !== undefined) await letPagesIn(uploads, config, config.corsOrigin, notFound)
    const enter = await gate(uploads, deps)
    const mayEnter = enter()
    apiUpload(uploads, deps, mayEnter, doors)
    files(uploads, deps, mayEnter, doors)
    ownFiles(uploads, deps, mayEnter, doors)
    forModels(uploads, deps, mayEnter)
    fetches(uploads, deps, mayEnter)
    presigned(uploads, deps, mayEnter, doors)
    adapters({ app: uploads, deps, enter, doors })
    const { upstreamUrl } = config.vision
    if (upstreamUrl === undefined) return
    // What takes no time at the start where it is not wanted.
    const { relay } = await import('./vision/relay.ts')
    relay(uploads, deps, { mayEnter: enter(['x-api-key']), base: () => base, upstreamUrl })
  })
  images(app, deps)
  deleteLinks(app, deps)
  system(app, deps)
  page(app, deps)
  clients(app, { ...deps, serverUrl: () => base })
  return app
}

/** Lets pages of other origins use all that is for uploaders, and read there, too, that an address does not exist. */
async function letPagesIn(
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

/** The address that clients know a listening server by, without a trailing slash. */
export function publicUrlOf(app: FastifyInstance, { publicUrl }: Pick<Config, 'publicUrl'>): string {
  return publicUrl ?? `http://localhost:${(app.server.address() as AddressInfo).port}`
}

/** What a failure inside means for a client: the one place where that is decided. */
function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof ObjectNotFound) return problem('image_not_found')
  if (error instanceof StorageFull) return problemWith('storage_full', { cause: error })
  if (error instanceof UsageError) return problemWith('usage_unavailable', { cause: error })
  if (error instanceof StoreError) return problemWith('store_unavailable', { cause: error })
  // The framework's own refusals, of headers and paths that make no sense.
  const { code, statusCode } = error as { code?: string; statusCode?: number }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return problem('multipart_expected')
  if (statusCode !== undefined && statusCode < 500) return problemWith('request_malformed', { cause: error })
  return problemWith('internal', { cause: error })
}

/** Answers with a problem, in the shape that the address speaks, so that the client gets to read it. */
function answer(request: FastifyRequest, reply: FastifyReply, problem: Problem) {
  request.failure = problem.code
  // Not one stack for each of a crowd.
  if (problem.code === 'server_busy') request.log.warn(problem.code)
  else if (problem.status >= 500) request.log.error({ err: problem.cause ?? problem }, problem.code)
  else request.log.debug({ err: problem.cause }, problem.code)

  const { type, write } = problemTextFor(request)
  const text = write(problem)
  reply
    .code(problem.status)
    .headers({ 'cache-control': 'no-store', ...problem.headers })
    .header('x-content-type-options', 'nosniff')
    .type(type)
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  const hasBody = encoding !== undefined || Number(length ?? 0) > 0
  if (!hasBody) return reply.send(text)
  // The body may not have been read to its end, so the connection is of no further use.
  reply.header('connection', 'close')
  const how = { isHeldBack: isHoldingBack(request.raw), isCostly: problem.code === 'body_fragmented' }
  return reply.header('content-length', Buffer.byteLength(text)).send(lingering(request.raw, text, how))
}
