import { Counter, Gauge, type Registry } from '@prometheus-io/client'
import { parseName, STEM_WIDTH } from '../name.ts'
import type { Store } from '../store/store.ts'
import type { SweepResult } from '../sweeper.ts'

/** The lowest name that there may be. */
const ANY_NAME = `${'0'.repeat(14)}j`.padEnd(STEM_WIDTH, '0').concat('.jpg')

/** One sweep, of the store that it is given. */
type Sweep = (store: Store) => Promise<SweepResult>

/**
 * Watches sweeps by standing between them and their store.
 *
 * The lag is how long an image may be overdue that is still there: since the last sweep that left nothing began, or since the oldest
 * image expired that a sweep saw or could not delete. So it goes up and down by SWEEP_INTERVAL while all is well, and on and on while
 * sweeps fail or do not come.
 *
 * `now` is the machine's clock, which refuses images. A sweep may go by an earlier time, as it does not believe a jump ahead at once; what
 * it does not look at for that is overdue all the same. How far it looks is known by the key before which it lists.
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
    let end = begun
    const upTo = (key: string) => {
      end = Math.min(end, expiryOf(nameFrom(key)))
    }
    const seen = (key: string) => {
      sweptUntil = Math.min(sweptUntil ?? begun, expiryOf(key))
    }
    try {
      const result = await sweep(watched(store, { upTo, seen, left: (key) => left.add(key) }))
      images.inc(result.deleted)
      bytes.inc(result.bytes)
      failures.inc(result.failed)
      sweeps.inc({ result: 'ok' })
      sweptUntil = Math.min(end, ...[...left].map(expiryOf))
      return result
    } catch (error) {
      sweeps.inc({ result: 'failed' })
      throw error
    }
  }
}

interface Watch {
  /** Told of the key before which a list ends. */
  readonly upTo: (key: string) => void
  /** Told of each key that is listed. */
  readonly seen: (key: string) => void
  /** Told of each that could not be deleted. */
  readonly left: (key: string) => void
}

function watched(store: Store, { upTo, seen, left }: Watch): Store {
  const { deleteMany } = store
  return {
    ...store,
    async *list(options) {
      if (options?.before !== undefined) upTo(options.before)
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

/** A whole name from the beginning of one, which says when the image expires. */
function nameFrom(beginning: string): string {
  return beginning + ANY_NAME.slice(beginning.length)
}
