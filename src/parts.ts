import { join } from 'node:path'
import type { Logger } from 'pino'
import { type Config, ConfigError } from './config.ts'
import { type OutputBudget, openOutputBudget } from './core/output-budget.ts'
import { isExpected } from './expected.ts'
import { type Keyring, openKeyring } from './keys.ts'
import type { Metrics } from './metrics/metrics.ts'
import { openReceipts } from './open-receipts.ts'
import { openIncomingArea, openStore, withCache } from './open-store.ts'
import { openUsage } from './open-usage.ts'
import { readiness } from './readiness.ts'
import type { Receipts } from './receipts/collector.ts'
import { openSecret } from './secret.ts'
import { openSpool, type Spool, tempAge } from './spool.ts'
import { type IncomingArea, StorageFull, type Store } from './store/store.ts'
import type { Usage } from './usage/usage.ts'

/** What a process works with. */
export interface Parts {
  readonly config: Config
  readonly log: Logger
  readonly secret: Buffer
  readonly keyring: Keyring
  readonly spool: Spool
  readonly store: Store
  /** Counts what is held for readers. */
  readonly budget: OutputBudget
  /** Where uploads by link arrive; undefined for no such links. */
  readonly area: IncomingArea | undefined
  readonly usage: Usage
  /** Who has fetched which image; undefined if that is not noted. */
  readonly receipts: Receipts | undefined
  readonly metrics: Metrics | undefined
}

export interface PartsOptions {
  /**
   * For one of several workers: what is done and said once for all of them, the primary has done and said. Nothing is made then that is
   * missing, as two secrets, or a key that nobody sees, would be worse than a worker that does not start.
   */
  readonly asWorker?: boolean
}

/** Opens all that the configuration names. Rejects with what to do if a part cannot be used: `isExpected`. */
export async function openParts(
  config: Config,
  log: Logger,
  { asWorker = false }: PartsOptions = {},
): Promise<Parts> {
  const opened = await openEach(config, log, asWorker)
  // Its library takes some memory, which those who do not ask for it keep.
  const metrics =
    config.metricsAddress && (await import('./metrics/metrics.ts')).openMetrics({ ofMachine: !asWorker })
  const store = withCache(metrics?.store(opened.store) ?? opened.store, config)
  const usage = metrics?.usage(opened.usage) ?? opened.usage
  const { spool } = opened
  metrics?.lookAtCache(store.facts)
  if (!asWorker) metrics?.look({ readiness: readiness({ store, usage, spool, log }), spool })
  return { ...opened, config, log, store, usage, metrics }
}

export async function closeParts({ spool, store, area, usage, receipts }: Parts): Promise<void> {
  await store.close()
  await area?.store.close()
  // Last, as what the stores were doing has names here.
  await spool.close()
  await usage.close()
  await receipts?.close()
}

async function openEach(config: Config, log: Logger, asWorker: boolean) {
  const { dataDir } = config
  const mayCreate = !asWorker
  try {
    const secret = await openSecret(config, { mayCreate })
    const maxAge = tempAge(config)
    const spool = await openSpool({ dir: join(dataDir, 'tmp'), minFree: config.minFreeSpace, maxAge })
    // What a killed process left is gone before the first request comes in, if its id tells that it is gone.
    if (!asWorker) await spool.sweep(Date.now())
    const onNote = onceEach((note) => asWorker || log.warn(note))
    const budget = openOutputBudget(config)
    const store = await openStore({ config, spool, onNote, leaveRules: asWorker, budget })
    const area = await openIncomingArea({ config, spool, onNote, leaveRules: asWorker })
    if (!asWorker) await warn(config, spool, log)
    const usage = await openUsage(config)
    const receipts = await openReceipts(config, log, { isQuiet: asWorker })
    // Last, as a key that is made at a first start is shown only if nothing else fails.
    let isOpen = false
    const onFault = (note: string) => (asWorker && !isOpen) || log.error(note)
    const keyring = await openKeyring(config, { onNote: onFault, mayCreate })
    isOpen = true
    return { secret, spool, store, budget, area, usage, receipts, keyring }
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

/** What an operator may want to change, though all can be used. */
async function warn(config: Config, spool: Spool, log: Logger): Promise<void> {
  await warnOfSpace(spool, log)
  if (config.store !== 's3') return
  if (config.secret === undefined || isOnKeyFile(config))
    log.warn('SECRET and API_KEYS are those of DATA_DIR: other replicas on this bucket need the same')
  const isLimited = config.quota > 0 || config.rateLimit.count > 0
  if (isLimited && config.redisUrl === undefined)
    log.warn('each replica counts on its own: QUOTA and RATE_LIMIT are for one machine without REDIS_URL')
}

async function warnOfSpace(spool: Spool, log: Logger): Promise<void> {
  try {
    if ((await spool.headroom()) >= 0) return
    log.warn('free space is below MIN_FREE_SPACE: uploads are refused until there is more')
  } catch (error) {
    if (!(error instanceof StorageFull)) throw error
    log.warn(error.message)
  }
}

function isOnKeyFile({ apiKeys, authUpstreamUrl }: Config): boolean {
  return apiKeys === undefined && authUpstreamUrl === undefined
}

/** Says each thing once, as two parts of a bucket may have the same to say. */
function onceEach(say: (note: string) => void): (note: string) => void {
  const said = new Set<string>()
  return (note) => {
    if (!said.has(note)) say(note)
    said.add(note)
  }
}
