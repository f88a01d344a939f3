import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server as NetServer } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { buildApp, publicUrlOf } from './app.ts'
import type { Parts } from './parts.ts'
import { explainPort } from './port-fault.ts'

export interface Server {
  /** The address that clients know it by, without a trailing slash. */
  readonly url: string
  /** Takes nothing new, and resolves when what is under way has ended, or been cut after STOP_TIMEOUT. */
  close(): Promise<void>
}

export interface ListenOptions {
  /**
   * Whether other processes listen on the same port, each with a queue of its own, among which the system spreads connections. Next to a
   * primary that takes them in and hands them on, as of `node:cluster`, each costs half as much, and none is left hanging when
   * its worker dies before it has it.
   */
  readonly isShared?: boolean
}

/** Serves, from here on. Rejects with what to do if the port cannot be had. */
export async function listen(parts: Parts, { isShared = false }: ListenOptions = {}): Promise<Server> {
  const { config } = parts
  const app = await buildApp(parts)
  let others: NetServer[] = []
  try {
    // Passed on to Node, which has more options than the framework's type.
    const options = { host: config.host, port: config.port, reusePort: isShared }
    await app.listen({ ...options, listenTextResolver: () => 'listening' })
    if (config.host === 'localhost') others = await listenOnOtherAddresses(app, options)
  } catch (error) {
    throw explainPort(error as NodeJS.ErrnoException)
  }
  return {
    url: publicUrlOf(app, config),
    async close() {
      const cut = setTimeout(() => app.server.closeAllConnections(), config.stopTimeout * 1000)
      const closed = others.map((other) => new Promise((resolve) => other.close(resolve)))
      await Promise.all([app.close(), ...closed])
      clearTimeout(cut)
    },
  }
}

/**
 * Listens on all addresses of a name, of which Node takes the first: `localhost` may be 127.0.0.1
 * and ::1. The connections go to the app's own server, with its limits. An address that cannot be
 * had is left out.
 */
async function listenOnOtherAddresses(
  app: FastifyInstance,
  { host, reusePort }: { host: string; reusePort: boolean },
): Promise<NetServer[]> {
  const others: NetServer[] = []
  const { address: taken, port } = app.server.address() as AddressInfo
  for (const { address } of await lookup(host, { all: true })) {
    if (address === taken) continue
    const other = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      app.server.emit('connection', socket)
    })
    const listening = once(other, 'listening')
    other.listen({ host: address, port, reusePort })
    await listening.then(
      () => others.push(other),
      () => {},
    )
  }
  return others
}
