import { Gauge, Registry } from '@prometheus-io/client'
import type { FastifyInstance } from 'fastify'
import type { CheckName, Readiness } from '../readiness.ts'
import type { Spool } from '../spool.ts'
import type { CacheFacts } from '../store/cached.ts'
import { StorageFull, type Store } from '../store/store.ts'
import type { SweepResult } from '../sweeper.ts'
import type { Usage } from '../usage/usage.ts'
import { cacheMetrics } from './cache.ts'
import { callMetrics } from './calls.ts'
import { type ConnectionRefusal, connectionMetrics } from './connections.ts'
import { type Listener, listenForMetrics } from './listener.ts'
import { logMetrics } from './log.ts'
import { merged, type Samples } from './merge.ts'
import { processMetrics } from './process.ts'
import { requestMetrics } from './requests.ts'
import { sweepMetrics } from './sweeps.ts'

/** What is measured, by standing in between: nothing that is measured knows of it. */
export interface Metrics {
  /** The same store, with its calls timed. */
  store(store: Store): Store
  /** The same usage, with its calls timed. */
  usage(usage: Usage): Usage
  /** Runs a sweep of this store, and counts what it does; `ofMachine` alone. */
  sweep(store: Store, sweep: (store: Store) => Promise<SweepResult>): Promise<SweepResult>
  /** Watches an app's requests; to be called before it has routes. */
  watch(app: FastifyInstance): void
  /** Counts a connection that was refused, or closed. */
  countRefusedConnection(reason: ConnectionRefusal): void
  /** What is looked at whenever the metrics are read; `ofMachine` alone. */
  look(at: { readonly readiness: () => Promise<Readiness>; readonly spool: Spool }): void
  /** Adds what this process's cache says of itself; none without one. */
  lookAtCache(facts: (() => CacheFacts) | undefined): void
  /** Adds how many lines this process's log has dropped. */
  lookAtLog(output: { readonly dropped: number }): void
  /** All that is measured, as of now. */
  read(): Promise<Samples>
  /** Serves the metrics from here on, with those of other processes that `others` collects each time. */
  listen(
    address: { readonly host: string; readonly port: number },
    others?: () => Promise<Samples[]>,
  ): Promise<Listener>
}

export interface MetricsOptions {
  /** Unix milliseconds. */
  readonly now?: () => number
  /** Whether this process measures what there is one of on a machine: sweeps, the store's state, free space. */
  readonly ofMachine?: boolean
}

export function openMetrics({ now = Date.now, ofMachine = true }: MetricsOptions = {}): Metrics {
  const registry = new Registry()
  processMetrics(registry)
  return {
    ...callMetrics(registry),
    sweep: ofMachine ? sweepMetrics(registry, now) : (store, sweep) => sweep(store),
    watch: requestMetrics(registry),
    countRefusedConnection: connectionMetrics(registry),
    look: (at) => lookAt(registry, at),
    lookAtCache: (facts) => cacheMetrics(registry, facts),
    lookAtLog: (output) => logMetrics(registry, output),
    read: () => registry.getMetricsAsJSON(),
    listen: (address, others) => {
      const all = async () => merged([await registry.getMetricsAsJSON(), ...((await others?.()) ?? [])])
      return listenForMetrics(others ? all : async () => registry, address)
    },
  }
}

function lookAt(registry: Registry, { readiness, spool }: Parameters<Metrics['look']>[0]): void {
  new Gauge({
    name: 'layover_check_ok',
    help: '1 if a check of /readyz succeeds, else 0.',
    labelNames: ['check'],
    registers: [registry],
    async collect() {
      const { checks } = await readiness()
      for (const check of Object.keys(checks) as CheckName[])
        this.set({ check }, checks[check].status === 'ok' ? 1 : 0)
    },
  })
  new Gauge({
    name: 'layover_headroom_bytes',
    help: 'Free space above MIN_FREE_SPACE; below 0, uploads are refused. -1 where inodes have run out.',
    registers: [registry],
    async collect() {
      this.set(await spool.headroom().catch((error) => (error instanceof StorageFull ? -1 : Number.NaN)))
    },
  })
}
