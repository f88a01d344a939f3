import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Milliseconds for an attempt at one of several addresses, before the next is tried. */
const ATTEMPT_TIME = 1000

export interface Address {
  readonly address: string
  readonly family: number
}

export interface Dialled {
  /** What the addresses are those of. */
  readonly hostname: string
  readonly port: number
  /** At least one, none of which is asked for again. */
  readonly addresses: readonly Address[]
  readonly signal: AbortSignal
}

/** The way out: replaced in tests, so that none of them leaves the machine. */
export interface Network {
  /** All addresses of a name. Rejects if it has none. */
  resolve(hostname: string): Promise<readonly Address[]>
  /** A connection to one of the addresses, or rejects when there is none or the signal says so. */
  dial(dialled: Dialled): Promise<Socket>
}

/** The machine's own resolver, hosts file included, and its own sockets. No proxy of the environment is used. */
export const machineNetwork: Network = {
  resolve: (hostname) => lookup(hostname, { all: true }),

  async dial({ hostname: host, port, addresses, signal }) {
    const socket = connect({
      ...{ host, port },
      // Not called for a literal address, which is then the one in `addresses`.
      lookup: (_host, _options, done) => done(null, [...addresses]),
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: ATTEMPT_TIME,
    })
    try {
      await once(socket, 'connect', { signal })
      return socket
    } catch (error) {
      socket.destroy()
      throw error
    }
  },
}
