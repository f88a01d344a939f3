import { readdir, readFile } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, type Registry } from '@prometheus-io/client'

/** How often the event loop is looked at, in milliseconds. */
const RESOLUTION = 20

/**
 * What Prometheus's clients say of every process, by the names they have everywhere. Not the library's own list: that watches each
 * garbage collection, of which an upload makes some, and takes a tenth more CPU time for it.
 *
 * Of several processes on a machine, memory and CPU time add up; of the others it is the one that matters most: the youngest, the one with
 * the most files, the one that is the latest.
 */
export function processMetrics(registry: Registry): void {
  const registers = [registry]
  const gauge = (
    name: string,
    help: string,
    read: () => number | Promise<number>,
    aggregator: 'sum' | 'max' = 'max',
  ) =>
    new Gauge({
      name,
      help,
      registers,
      aggregator,
      async collect() {
        // What a system does not have is not told.
        this.set(await Promise.resolve(read()).catch(() => Number.NaN))
      },
    })

  const started = Date.now() / 1000 - process.uptime()
  gauge('process_start_time_seconds', 'When the process started, in Unix seconds.', () => started)
  gauge('process_resident_memory_bytes', 'Memory of the process.', () => process.memoryUsage.rss(), 'sum')
  gauge('nodejs_heap_size_used_bytes', 'Memory of its objects.', () => process.memoryUsage().heapUsed, 'sum')
  gauge(
    'process_open_fds',
    'Open files and sockets.',
    async () => (await readdir('/proc/self/fd')).length - 1,
  )
  gauge('process_max_fds', 'How many there may be.', async () => {
    const [, most = ''] = /^Max open files +(\w+)/m.exec(await readFile('/proc/self/limits', 'utf8')) ?? []
    return most === 'unlimited' ? Number.POSITIVE_INFINITY : Number(most)
  })
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time, of user and system.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / 1e6)
    },
  })
  eventLoopMetrics(registry)
}

/** How late the event loop came to what was due, since the metrics were read last. */
function eventLoopMetrics(registry: Registry): void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  delay.enable()
  /** It measures the whole time from one look to the next, in nanoseconds. */
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION / 1000)
  const registers = [registry]
  new Gauge({
    name: 'nodejs_eventloop_lag_p99_seconds',
    help: 'How late timers fire, 99 % of them at most.',
    registers,
    aggregator: 'max',
    collect() {
      this.set(late(delay.percentile(99)))
    },
  })
  new Gauge({
    name: 'nodejs_eventloop_lag_max_seconds',
    help: 'How late a timer has fired.',
    registers,
    aggregator: 'max',
    collect() {
      this.set(late(delay.max))
      // The last of them, as they are collected in this order.
      delay.reset()
    },
  })
}
