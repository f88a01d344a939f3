import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import { type Logger, pino } from 'pino'
import { buildApp, publicUrlOf } from './app.ts'
import { cautiousClock } from './cautious-clock.ts'
import { type Config, ConfigError, loadConfig, readDotEnv } from './config.ts'
import { openKeyring } from './keys.ts'
import type { Listener } from './metrics/listener.ts'
import type { Metrics } from './metrics/metrics.ts'
import { openIncomingArea, openStore, withCache } from './open-store.ts'
import { openUsage } from './open-usage.ts'
import { isLeftover } from './presign/times.ts'
import { readiness } from './readiness.ts'
import { openSecret } from './secret.ts'
import { openSpool, type Spool } from './spool.ts'
import { type IncomingArea, type Store, StoreError } from './store/store.ts'
import { sweep } from './sweeper.ts'
import { type Usage, UsageError } from './usage/usage.ts'
import { firstKeyNotice, unreachableBecause } from './welcome.ts'

/** Seconds after which a temp file belongs to nobody, if no upload may take longer. */
const TEMP_AGE = 3600

async function start(): Promise<void> {
  readDotEnv()
  const config = loadConfig()
  const log = pino({ level: config.logLevel })
  const { keyring, secret, spool, area, ...opened } = await openAll(config, log)
  // Its library takes some memory, which those who do not ask for it keep.
  const metrics = config.metricsAddress && (await import('./metrics/metrics.ts')).openMetrics()
  const store = withCache(metrics?.store(opened.store) ?? opened.store, config)
  const usage = metrics?.usage(opened.usage) ?? opened.usage
  metrics?.look({ readiness: readiness({ store, usage, spool, log }), spool, cache: store.facts })
  const app = await buildApp({ config, store, area, spool, usage, keyring, secret, log, metrics })
  try {
    await app.listen({ host: config.host, port: config.port, listenTextResolver: () => 'listening' })
  } catch (error) {
    // There is no second time to show it.
    if (keyring.firstKey) process.stdout.write(firstKeyNotice(keyring.firstKey, config))
    throw explainPort(error as NodeJS.ErrnoException)
  }

  const url = publicUrlOf(app, config)
  if (keyring.firstKey) process.stdout.write(firstKeyNotice(keyring.firstKey, config, url))
  const [base, variable] = config.s3PublicUrl ? [config.s3PublicUrl, 'S3_PUBLIC_URL'] : [url, 'PUBLIC_URL']
  const reason = unreachableBecause(base)
  if (reason)
    log.warn(
      { url: base },
      `no model can fetch images from here: ${reason}; set ${variable} to your public address`,
    )
  const listener =
    config.metricsAddress && (await metrics?.listen(config.metricsAddress).catch(explainMetrics))
  if (listener) log.info({ url: listener.url }, 'metrics')
  log.info({ url, store: config.store }, 'ready')

  const stopSweeping = new AbortController()
  void sweepRegularly({ config, store, area, spool, log, metrics, signal: stopSweeping.signal })
  stopOnSignal({ app, listener, store, area, spool, usage, config, log, stopSweeping })
}

async function openAll(config: Config, log: Logger) {
  const { dataDir } = config
  try {
    const secret = await openSecret(config)
    const maxAge = Math.max(TEMP_AGE, 2 * config.uploadTimeout)
    const spool = await openSpool({ dir: join(dataDir, 'tmp'), minFree: config.minFreeSpace, maxAge })
    // What a killed process left is gone before the first request comes in, if its id tells that it is gone.
    await spool.sweep(Date.now())
    const onNote = onceEach((note) => log.warn(note))
    const store = await openStore({ config, spool, onNote })
    const area = await openIncomingArea({ config, spool, onNote })
    if ((await spool.headroom()) < 0)
      log.warn('free space is below MIN_FREE_SPACE: uploads are refused until there is more')
    if (config.store === 's3' && (config.secret === undefined || isOnKeyFile(config)))
      log.warn('SECRET and API_KEYS are those of DATA_DIR: other replicas on this bucket need the same')
    const usage = await openUsage(config)
    const isLimited = config.quota > 0 || config.rateLimit.count > 0
    if (config.store === 's3' && isLimited && config.redisUrl === undefined)
      log.warn('each replica counts on its own: QUOTA and RATE_LIMIT are for one machine without REDIS_URL')
    // Last, as a key that is made at a first start is shown only if nothing else fails.
    const keyring = await openKeyring(config, { onNote: (note) => log.error(note) })
    return { secret, spool, store, area, usage, keyring }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (isExpected(error) || code === undefined) throw error
    throw new ConfigError(
      `DATA_DIR: ${dataDir} cannot be used (${code}): it must be a folder that user ${process.getuid?.()} can write`,
      {
        cause: error,
      },
    )
  }
}

/** Whether an error's message says what to do, so that nobody needs to see where it came from. */
function isExpected(error: unknown): boolean {
  return [ConfigError, StoreError, UsageError].some((kind) => error instanceof kind)
}

function isOnKeyFile({ apiKeys, authUpstreamUrl }: Config): boolean {
  return apiKeys === undefined && authUpstreamUrl === undefined
}

function explainPort(error: NodeJS.ErrnoException & { port?: number }): Error {
  if (error.code === 'EADDRINUSE')
    return new ConfigError(`PORT: ${error.port} is taken by another program; set another`)
  if (error.code === 'EACCES')
    return new ConfigError(`PORT: this user may not listen on ${error.port}; set one above 1023`)
  return error
}

function explainMetrics({ code }: NodeJS.ErrnoException): never {
  throw new ConfigError(`METRICS_ADDRESS: cannot be listened on (${code}); set another`)
}

/** Says each thing once, as two parts of a bucket may have the same to say. */
function onceEach(say: (note: string) => void): (note: string) => void {
  const said = new Set<string>()
  return (note) => {
    if (!said.has(note)) say(note)
    said.add(note)
  }
}

interface Sweeping {
  readonly config: Config
  readonly store: Store
  readonly area: IncomingArea | undefined
  readonly spool: Spool
  readonly log: Logger
  readonly metrics: Metrics | undefined
  readonly signal: AbortSignal
}

async function sweepRegularly({ config, store, area, spool, log, metrics, signal }: Sweeping): Promise<void> {
  if (config.sweepInterval === 0)
    return log.warn('the sweeper is off: expired images are refused but keep their space')
  const isOver = (key: string, now: number) => isLeftover(key, config, now)
  const incoming = area && { store: area.store, isOver }
  const now = cautiousClock()
  while (!signal.aborted) {
    const begun = performance.now()
    try {
      const onError = (err: unknown) => log.error({ err }, 'a part of the sweep failed')
      const sweepOf = (store: Store) => sweep({ store, incoming, spool, now: now(), onError, signal })
      const result = await (metrics ? metrics.sweep(store, sweepOf) : sweepOf(store))
      log.info({ ...result, ms: Math.round(performance.now() - begun) }, 'sweep')
    } catch (err) {
      log.error({ err }, 'sweep failed')
    }
    await sleep(config.sweepInterval * 1000, undefined, { signal, ref: false }).catch(() => {})
  }
}

interface Stopping {
  readonly app: FastifyInstance
  readonly listener: Listener | undefined
  readonly store: Store
  readonly area: IncomingArea | undefined
  readonly spool: Spool
  readonly usage: Usage
  readonly config: Config
  readonly log: Logger
  readonly stopSweeping: AbortController
}

/** On SIGTERM, SIGINT or an error that nobody caught: takes nothing new, lets what is under way finish, and ends. */
function stopOnSignal({
  app,
  listener,
  store,
  area,
  spool,
  usage,
  config,
  log,
  stopSweeping,
}: Stopping): void {
  const limit = config.stopTimeout * 1000
  closeWithGrace({ delay: limit + 5000, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error')
    else log.info({ signal }, 'stopping')
    stopSweeping.abort()
    const cut = setTimeout(() => app.server.closeAllConnections(), limit)
    await app.close()
    clearTimeout(cut)
    await spool.close()
    await store.close()
    await area?.store.close()
    await usage.close()
    await listener?.close()
    log.info('stopped')
  })
}

try {
  await start()
} catch (error) {
  const { message, stack } = error as Error
  process.stderr.write(`Layover cannot start. ${isExpected(error) ? message : stack}\n`)
  process.exit(1)
}
