import { Counter, type Registry } from '@prometheus-io/client'

/** What the log's output says of itself, read when the metrics are. */
export function logMetrics(registry: Registry, output: { readonly dropped: number }): void {
  new Counter({
    name: 'layover_log_lines_dropped_total',
    help: 'Lines that the log dropped because standard output took no more.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(output.dropped)
    },
  })
}
