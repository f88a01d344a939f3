import { createServer, type RequestListener, type Server } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import type { Config } from '../../config.ts'
import { SMALL_PIECE } from '../../core/output-budget.ts'
import type { ConnectionRefusal } from '../../metrics/connections.ts'
import type { Metrics } from '../../metrics/metrics.ts'
import { networkOf } from '../../receipts/network-of.ts'
import { limitConnections } from './connection-limits.ts'
import { serialisePipelining } from './pipelining.ts'

/** Seconds in which a request's headers must have arrived. */
const HEADERS_TIMEOUT = 10

/**
 * How much longer a connection is kept that waits for its next request: with the usual
 * IDLE_TIMEOUT, longer than the minute for which proxies keep theirs. Were we the first to close
 * one, a request could be on its way.
 */
const KEPT_LONGER = 2.4

/** How often connections that are refused for one reason are logged, in milliseconds. */
const LOG_INTERVAL = 60_000

/** What the log says of each reason why a connection was refused, or closed. */
const REASONS: Readonly<Record<ConnectionRefusal, string>> = {
  total: 'connections are refused: there are MAX_CONNECTIONS (with WORKERS, this process’s share)',
  address:
    'connections are refused: one address has MAX_CONNECTIONS_PER_ADDRESS; if it is a proxy, name it in TRUST_PROXY',
  pipelining: 'connections are closed: too many pipelined requests wait on them',
}

export interface HttpServerOptions {
  readonly config: Config
  readonly log: FastifyBaseLogger
  readonly metrics?: Pick<Metrics, 'countRefusedConnection'> | undefined
  /** Unix milliseconds. */
  readonly now: () => number
}

/**
 * Makes the HTTP server that `handle` answers the requests of: its timeouts, and its limits on
 * connections and on what waits on them.
 */
export function createHttpServer(
  handle: RequestListener,
  { config, log, metrics, now }: HttpServerOptions,
): Server {
  const warn = warnRarely(log, now)
  const refuse = (reason: ConnectionRefusal, address?: string) => {
    metrics?.countRefusedConnection(reason)
    warn(reason, address)
  }
  const server = createServer({
    requestTimeout: config.uploadTimeout * 1000,
    // Node takes the longer of this and `requestTimeout` for the whole request.
    headersTimeout: Math.min(HEADERS_TIMEOUT, config.uploadTimeout) * 1000,
    keepAliveTimeout: Math.round(KEPT_LONGER * config.idleTimeout * 1000),
    connectionsCheckingInterval: 1000,
    // `refuseDoubtful` looks at it, as Node's own refusal says nothing.
    requireHostHeader: false,
    // A response is told to wait as soon as its client has not taken the piece before.
    highWaterMark: SMALL_PIECE,
  })
  server.setTimeout(config.idleTimeout * 1000)
  const watchIdle = limitConnections(server, { config, onRefused: refuse })
  const onOverflow = () => refuse('pipelining')
  return server.on('request', serialisePipelining(server, watchIdle(handle), { onOverflow }))
}

/**
 * Logs the first refusal for each reason, and then at most one a minute, with how many there were
 * since.
 */
function warnRarely(log: FastifyBaseLogger, now: () => number) {
  const since = new Map<ConnectionRefusal, { count: number; loggedAt: number }>()
  return (reason: ConnectionRefusal, address?: string): void => {
    const { count, loggedAt } = since.get(reason) ?? { count: 0, loggedAt: Number.NEGATIVE_INFINITY }
    const isDue = now() - loggedAt >= LOG_INTERVAL
    since.set(reason, isDue ? { count: 0, loggedAt: now() } : { count: count + 1, loggedAt })
    const network = address === undefined ? {} : { network: networkOf(address) }
    if (isDue) log.warn({ refused: count + 1, ...network }, REASONS[reason])
  }
}
