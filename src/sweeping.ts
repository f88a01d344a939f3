import { setTimeout as sleep } from 'node:timers/promises'
import { cautiousClock } from './cautious-clock.ts'
import type { Parts } from './parts.ts'
import { isLeftover } from './presign/times.ts'
import type { Store } from './store/store.ts'
import { sweep } from './sweeper.ts'

/** Sweeps now and every SWEEP_INTERVAL, until it is stopped. A sweep that fails is logged, and the next one comes all the same. */
export function sweepRegularly(parts: Parts): { stop(): void } {
  const stopping = new AbortController()
  if (parts.config.sweepInterval > 0) void sweepUntil(stopping.signal, parts)
  else parts.log.warn('the sweeper is off: expired images are refused but keep their space')
  return { stop: () => stopping.abort() }
}

async function sweepUntil(signal: AbortSignal, parts: Parts): Promise<void> {
  const { config, store, area, spool, log, metrics } = parts
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
