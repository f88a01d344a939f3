import { Counter, type Registry } from '@prometheus-io/client'

/**
 * Why a connection was refused, or closed: too many in total, too many of its address, too much
 * waiting on it.
 */
export type ConnectionRefusal = 'total' | 'address' | 'pipelining'

/** Returns what counts a connection that was refused, or closed. */
export function connectionMetrics(registry: Registry): (reason: ConnectionRefusal) => void {
  const refused = new Counter({
    name: 'layover_connections_refused_total',
    help: 'Connections that were refused or closed for a limit.',
    labelNames: ['reason'],
    registers: [registry],
  })
  for (const reason of ['total', 'address', 'pipelining']) refused.inc({ reason }, 0)
  return (reason) => refused.inc({ reason })
}
