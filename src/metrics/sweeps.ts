import { Counter, Gauge, type Registry } from '@prometheus-io/client'
import { parseName } from '../name.ts'
import type { Store } from '../store/store.ts'
import type { SweepResult } from '../sweeper.ts'

/** One sweep, of the store that it is given. */
type Sweep = (store: Store) => Promise<SweepResult>

/**
 * Watches sweeps by standing between them and their store.
 *
 * The lag is how long an image may be overdue that is still there: since the last sweep that left nothing began, or since the oldest
 * image expired that a sweep saw or could not delete. So it goes up and down by SWEEP_INTERVAL while all is well, and on and on while
 * sweeps fail or do not come.
 */
export function sweepMetrics(registry: Registry, now: () => number) {
  const counter = (name: string, help: string) => new Counter({ name, help, registers: [registry] })
  const images = counter('layover_swept_images_total', 'Expired images deleted.')
  const bytes = counter('layover_swept_bytes_total', 'Their bytes.')
  const failures = counter('layover_sweep_failures_total', 'Deletes of expired images that failed.')
  const sweeps = new Counter({
    name: 'layover_sweeps_total',
    help: 'Sweeps, by whether they got to their end.',
    labelNames: ['result'],
    registers: [registry],
  })
  for (const result of ['ok', 'failed']) sweeps.inc({ result }, 0)

  /** Unix milliseconds; what expired before is gone. Unset until there is a sweep. */
  let sweptUntil: number | undefined
  new Gauge({
    name: 'layover_sweep_lag_seconds',
    help: 'How long an expired image that is still stored may be overdue, at most.',
    registers: [registry],
    collect() {
      this.set(sweptUntil === undefined ? Number.NaN : Math.max(0, now() - sweptUntil) / 1000)
    },
  })

  return async (store: Store, sweep: Sweep): Promise<SweepResult> => {
    const begun = now()
    sweptUntil ??= begun
    const left = new Set<string>()
    const seen = (key: string) => {
      sweptUntil = Math.min(sweptUntil ?? begun, expiryOf(key))
    }
    try {
      const result = await sweep(watched(store, { seen, left: (key) => left.add(key) }))
      images.inc(result.deleted)
      bytes.inc(result.bytes)
      failures.inc(result.failed)
      sweeps.inc({ result: 'ok' })
      sweptUntil = Math.min(begun, ...[...left].map(expiryOf))
      return result
    } catch (error) {
      sweeps.inc({ result: 'failed' })
      throw error
    }
  }
}

interface Watch {
  /** Told of each key that is listed. */
  readonly seen: (key: string) => void
  /** Told of each that could not be deleted. */
  readonly left: (key: string) => void
}

function watched(store: Store, { seen, left }: Watch): Store {
  const { deleteMany } = store
  return {
    ...store,
    async *list(options) {
      for await (const object of store.list(options)) {
        seen(object.key)
        yield object
      }
    },
    async delete(key) {
      await store.delete(key).catch((error) => {
        left(key)
        throw error
      })
    },
    ...(deleteMany && {
      async deleteMany(keys: readonly string[]) {
        const failed = await deleteMany.call(store, keys)
        for (const { key } of failed) left(key)
        return failed
      },
    }),
  }
}

/** Unix milliseconds; `Infinity` for what is no image of ours. */
function expiryOf(key: string): number {
  return (parseName(key)?.expires ?? Number.POSITIVE_INFINITY) * 1000
}
