import { Counter, Gauge, type Registry } from '@prometheus-io/client'
import type { CacheFacts } from '../store/cached.ts'

const NOTHING: CacheFacts = { hits: 0, misses: 0, bytes: 0 }

/** What a cache says of itself, read when the metrics are: a hit takes no time for it. Without a cache, nothing is ever in it. */
export function cacheMetrics(registry: Registry, facts: () => CacheFacts = () => NOTHING): void {
  const registers = [registry]
  new Counter({
    name: 'layover_cache_reads_total',
    help: 'Reads of whole images, by whether they were in the cache.',
    labelNames: ['result'],
    registers,
    collect() {
      const { hits, misses } = facts()
      this.reset()
      this.inc({ result: 'hit' }, hits)
      this.inc({ result: 'miss' }, misses)
    },
  })
  new Gauge({
    name: 'layover_cache_bytes',
    help: 'Bytes of images in the cache; CACHE_SIZE is the most.',
    registers,
    collect() {
      this.set(facts().bytes)
    },
  })
}
