import type { FastifyBaseLogger } from 'fastify'
import type { Spool } from './spool.ts'
import { StorageFull, type Store } from './store/store.ts'
import type { Usage } from './usage/usage.ts'

/** How long an answer holds, in milliseconds. */
const CHECK_INTERVAL = 1000
/** How long a check may take, in milliseconds: whoever asks has little patience. */
const CHECK_LIMIT = 5000

/**
 * What is looked at: the store, the counts of quotas and rates, and the free space above
 * MIN_FREE_SPACE, with inodes.
 */
export type CheckName = 'store' | 'usage' | 'space'

export type Check = { readonly status: 'ok' } | { readonly status: 'failed'; readonly reason: string }

export interface Readiness {
  /** 'unavailable': images cannot be served. 'degraded': they can, but uploads may be refused. */
  readonly status: 'ok' | 'degraded' | 'unavailable'
  readonly checks: Readonly<Record<CheckName, Check>>
}

/** All that is ever said of a failure; the log has its cause. */
export const REASONS: Readonly<Record<CheckName, string>> = {
  store: 'The image store does not answer.',
  usage: 'Quotas and rates cannot be counted: uploads that have one are refused.',
  space: 'Free space is below MIN_FREE_SPACE, or inodes have run out: uploads are refused.',
}

export interface ReadinessOptions {
  readonly store: Store
  readonly usage: Usage
  readonly spool: Spool
  readonly log: FastifyBaseLogger
}

/**
 * Whether the server can do its work. Never rejects.
 *
 * Anybody may ask, and a check writes to the disk or asks a bucket, so those who ask within a second share one. Work that hangs is
 * not begun again until it has ended, or it would pile up: until then its check is the one that was, which fails after its time.
 */
export function readiness({ store, usage, spool, log }: ReadinessOptions): () => Promise<Readiness> {
  let last: { at: number; result: Promise<Readiness> } | undefined

  /** The checks whose work goes on. */
  const unended = new Map<CheckName, Promise<Check>>()
  /** Whether the disk was, when the store's last check ended, one on which nothing more can be written. */
  let isFull = false

  function attempt(name: CheckName, work: () => Promise<void>): Promise<Check> {
    const before = unended.get(name)
    if (before !== undefined) return before
    const ended = Promise.try(work).finally(() => unended.delete(name))
    const check = judge(name, ended)
    unended.set(name, check)
    return check
  }

  async function judge(name: CheckName, ended: Promise<void>): Promise<Check> {
    try {
      await inTime(ended)
      return { status: 'ok' }
    } catch (err) {
      log.error({ err, check: name }, 'a check of readiness failed')
      return { status: 'failed', reason: REASONS[name] }
    }
  }

  async function look(): Promise<Readiness> {
    const [ofStore, ofUsage, ofSpace] = await Promise.all([
      // A disk on which nothing more can be written still serves what is on it.
      attempt('store', async () => {
        const failure = await store.check().catch((error) => error)
        isFull = failure instanceof StorageFull
        if (failure !== undefined && !isFull) throw failure
      }),
      attempt('usage', () => usage.check()),
      attempt('space', async () => {
        if ((await spool.headroom()) < 0) throw new StorageFull('free space is below MIN_FREE_SPACE')
      }),
    ])
    const space: Check = isFull ? { status: 'failed', reason: REASONS.space } : ofSpace
    const isDegraded = [ofUsage, space].some(({ status }) => status === 'failed')
    const status = ofStore.status === 'failed' ? 'unavailable' : isDegraded ? 'degraded' : 'ok'
    return { status, checks: { store: ofStore, usage: ofUsage, space } }
  }

  return () => {
    const at = performance.now()
    if (last === undefined || at - last.at >= CHECK_INTERVAL) last = { at, result: look() }
    return last.result
  }
}

/** Rejects if the work takes too long. It goes on by itself. */
async function inTime(work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_LIMIT)
  await Promise.race([work, promise]).finally(() => clearTimeout(timer))
}
