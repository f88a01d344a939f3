import type { RequestListener, Server } from 'node:http'
import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'
import type { Config } from '../../config.ts'

/**
 * Idle connections that are closed at once when there are as many as there may be: so many, but no
 * more than one in a hundred.
 */
const CLOSED_AT_ONCE = 32

/** The limit that a connection was beyond. */
export type ConnectionLimit = 'total' | 'address'

export interface ConnectionLimitOptions {
  readonly config: Pick<Config, 'maxConnections' | 'maxConnectionsPerAddress' | 'trustProxy'>
  /** Called for each connection that is refused, with its address if that had too many. */
  readonly onRefused: (limit: ConnectionLimit, address?: string) => void
}

/**
 * Limits the connections of a server, in total and for each address; 0 is no limit. What is beyond
 * is closed before a byte is read from it.
 *
 * The limit for an address counts as the rate limits do, of IPv6 by the /64. It does not apply to
 * this machine nor to the proxies of `TRUST_PROXY`, who speak for many. In total, idle connections
 * make room: the oldest are closed when a new one takes the last place.
 *
 * Returns what has to stand around the server's request listener, which tells it the connections
 * that are idle.
 */
export function limitConnections(
  server: Server,
  { config, onRefused }: ConnectionLimitOptions,
): (handle: RequestListener) => RequestListener {
  const { maxConnections, maxConnectionsPerAddress } = config
  const proxies = addressesOf(['loopback', ...(config.trustProxy ?? [])])
  const countOf = new Map<string, number>()
  /** Those on which a request is waited for, the first or the next; the oldest first. */
  const idle = new Set<Socket>()
  /** Not those of proxies: they keep connections for requests that may be on their way. */
  const mayBeClosed = new WeakSet<Socket>()
  let open = 0

  function onConnection(socket: Socket): void {
    open += 1
    socket.once('close', () => {
      open -= 1
      idle.delete(socket)
    })
    if (maxConnections > 0 && open >= maxConnections) closeIdle()
    // Node's own check is made where a connection is accepted, and so only for the first address.
    const isBeyond = maxConnections > 0 && open > maxConnections
    // A client that has gone already has no address.
    const address = socket.remoteAddress ?? ''
    if (isBeyond) refuse(socket, 'total')
    else if (!isAmong(proxies, address)) admitClient(socket, address)
  }

  function admitClient(socket: Socket, address: string): void {
    if (maxConnectionsPerAddress > 0 && !countAddress(socket, address)) {
      refuse(socket, 'address', address)
      return
    }
    mayBeClosed.add(socket)
    if (maxConnections > 0) idle.add(socket)
  }

  function refuse(socket: Socket, limit: ConnectionLimit, address?: string): void {
    socket.destroy()
    onRefused(limit, address)
  }

  /** Returns false if there are too many from this address. */
  function countAddress(socket: Socket, address: string): boolean {
    const client = normalizeIP(address)
    const count = countOf.get(client) ?? 0
    if (count >= maxConnectionsPerAddress) return false
    countOf.set(client, count + 1)
    socket.once('close', () => {
      const left = (countOf.get(client) ?? 1) - 1
      if (left > 0) countOf.set(client, left)
      else countOf.delete(client)
    })
    return true
  }

  function closeIdle(): void {
    const count = Math.min(CLOSED_AT_ONCE, Math.ceil(maxConnections / 100))
    for (const socket of idle.values().take(count)) {
      idle.delete(socket)
      socket.destroy()
    }
  }

  if (maxConnections > 0) server.maxConnections = maxConnections
  server.on('drop', () => onRefused('total'))
  // Before Node's own listener, which would begin to parse.
  server.prependListener('connection', onConnection)

  return (handle) => (request, response) => {
    const { socket } = request
    idle.delete(socket)
    if (maxConnections > 0 && mayBeClosed.has(socket))
      response.once('close', () => {
        if (socket.writable) idle.add(socket)
      })
    handle(request, response)
  }
}

/** What `TRUST_PROXY` takes for names, as the framework reads them. */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.1/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

function addressesOf(list: readonly string[]): BlockList {
  const addresses = new BlockList()
  for (const item of list.flatMap((item) => NAMED[item] ?? item)) {
    const [address = '', bits] = item.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) addresses.addAddress(address, family)
    else addresses.addSubnet(address, Number(bits), family)
  }
  return addresses
}

function isAmong(addresses: BlockList, address: string): boolean {
  // A link-local address ends with its interface.
  const [plain = ''] = address.split('%')
  return isIP(plain) > 0 && addresses.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
}
