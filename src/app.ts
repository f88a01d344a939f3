import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify'
import { openAdmission } from './admission.ts'
import { answerProblem, toProblem } from './answer-problem.ts'
import type { Config } from './config.ts'
import { answerBrokenRequest, closeAtStop, continueWhenWanted, refuseTunnels } from './connection.ts'
import type { OutputBudget } from './core/output-budget.ts'
import { deleteLink } from './delete-link.ts'
import { problem } from './errors.ts'
import { createHttpServer } from './http/connection/http-server.ts'
import { keepReadRate } from './http/connection/read-rate.ts'
import { boundOutput } from './http/hooks/bound-output.ts'
import { imageUrl } from './image-url.ts'
import { storedHeaders } from './images/stored-headers.ts'
import { machineNetwork, type Network } from './intake/remote/network.ts'
import { gate } from './limits.ts'
import type { Metrics } from './metrics/metrics.ts'
import { type ImageName, imagePath } from './name.ts'
import { describeApi } from './openapi.ts'
import { openPresign } from './presign.ts'
import { logAtEnd } from './request-log.ts'
import { apiUpload } from './routes/api-upload.ts'
import { clients } from './routes/clients.ts'
import { deleteLinks } from './routes/delete-link.ts'
import type { Deps } from './routes/deps.ts'
import { fetches } from './routes/fetches.ts'
import { files } from './routes/files.ts'
import { forModels } from './routes/for-models.ts'
import { images } from './routes/images.ts'
import { keepKnownPaths, methodUnknown, routeMissing } from './routes/other-methods.ts'
import { ownFiles } from './routes/own-files.ts'
import { page } from './routes/page.ts'
import { presigned } from './routes/presign.ts'
import { system } from './routes/system.ts'
import type { IncomingArea } from './store/store.ts'
import { refuseDoubtful } from './syntax.ts'
import { openFitter } from './vision/fitter.ts'

/** Characters of a part of a path that is anybody's to choose: a file name of 255 bytes, each of them encoded, fits. */
const LONGEST_NAME = 1024

export interface AppOptions
  extends Omit<
    Deps,
    'now' | 'urlOf' | 'ownUrlOf' | 'deleteUrlOf' | 'presign' | 'network' | 'fitter' | 'headers'
  > {
  /** Where uploads by link arrive; undefined for no such links. */
  readonly area: IncomingArea | undefined
  /** Counts what is held for readers. */
  readonly budget: OutputBudget
  readonly log: FastifyBaseLogger
  /** Watches the requests, if anybody wants to know. */
  readonly metrics?: Pick<Metrics, 'watch' | 'countRefusedConnection'> | undefined
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
  budget,
  ...rest
}: AppOptions): Promise<FastifyInstance> {
  const { config } = rest
  const app: FastifyInstance = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    serverFactory: (handle) => createHttpServer(handle, { config, log, metrics, now }),
    // While stopping, what comes on a connection that is still open is answered, and the connection closed.
    return503OnClosing: false,
    trustProxy: config.trustProxy ?? false,
    routerOptions: { maxParamLength: LONGEST_NAME },
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket, methodUnknown(error, app)),
    frameworkErrors: ({ code }, request, reply) => {
      logAtEnd(request, reply)
      answerProblem(request, reply, problem(code === 'FST_ERR_BAD_URL' ? 'request_malformed' : 'not_found'))
    },
  })
  keepKnownPaths(app)
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
  app.addHook('onListen', async () => doors.watch())
  app.addHook('onClose', async () => doors.close())
  const presign = area && openPresign({ ...rest, area, admission: doors, now, uploadUrlOf })
  const { store } = presign ?? rest
  const fitter = openFitter({ ...rest, digest: store.digest })
  app.addHook('onClose', async () => fitter.close())
  const headers = storedHeaders(store)
  const deps: Deps = { ...rest, store, headers, presign, fitter, now, network, urlOf, ownUrlOf, deleteUrlOf }

  // Each part that has something to give back waits for the end: a dozen at the most, which is not a leak.
  app.addHook('onRequest', (_request, reply, done) => {
    reply.raw.setMaxListeners(20)
    done()
  })
  closeAtStop(app)
  keepReadRate(app, { minRate: config.minReadRate, window: config.idleTimeout })
  boundOutput(app, budget)
  app.decorate('minUploadRate', config.minUploadRate)
  app.decorate('paceWindow', config.idleTimeout)
  for (const fact of ['apiKey', 'taken', 'failure', 'limitMet']) app.decorateRequest(fact, undefined)
  metrics?.watch(app)
  app.addHook('onRequest', logAtEnd)
  app.addHook('onRequest', refuseDoubtful)
  continueWhenWanted(app)
  refuseTunnels(app)
  app.setErrorHandler((error, request, reply) => answerProblem(request, reply, toProblem(error)))
  const notFound = (request: FastifyRequest, reply: FastifyReply) =>
    answerProblem(request, reply, routeMissing(request))
  app.setNotFoundHandler(notFound)

  await describeApi(app, () => base)

  // No body is read before a route asks for it; what a route does not want, it says itself.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  await app.register(async (uploads) => {
    // What few ask for is loaded where they do, or each start would take longer.
    if (config.corsOrigin !== undefined) {
      const { letPagesIn } = await import('./cors.ts')
      await letPagesIn(uploads, config, config.corsOrigin, notFound)
    }
    const enter = await gate(uploads, deps)
    const mayEnter = enter()
    apiUpload(uploads, deps, mayEnter, doors)
    files(uploads, deps, mayEnter, doors)
    ownFiles(uploads, deps, mayEnter, doors)
    forModels(uploads, deps, mayEnter)
    fetches(uploads, deps, mayEnter)
    presigned(uploads, deps, mayEnter, doors)
    if (config.adapters.length > 0) {
      const { adapters } = await import('./adapters.ts')
      adapters({ app: uploads, deps, enter, doors })
    }
    const { upstreamUrl } = config.vision
    if (upstreamUrl !== undefined) {
      const { relay } = await import('./vision/relay.ts')
      relay(uploads, deps, { mayEnter: enter(['x-api-key']), base: () => base, upstreamUrl })
    }
  })
  images(app, deps)
  deleteLinks(app, deps)
  system(app, deps)
  page(app, deps)
  clients(app, { ...deps, serverUrl: () => base })
  return app
}

/** The address that clients know a listening server by, without a trailing slash. */
export function publicUrlOf(app: FastifyInstance, { publicUrl }: Pick<Config, 'publicUrl'>): string {
  return publicUrl ?? `http://localhost:${(app.server.address() as AddressInfo).port}`
}
