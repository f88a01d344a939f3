import { lookup, Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Milliseconds for a DNS server's answer, before it is asked once more. */
const QUERY_TIME = 2000
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
  /** All addresses of a name. Rejects if it has none, or with the signal's reason. */
  resolve(hostname: string, options: ResolveOptions): Promise<readonly Address[]>
  /** A connection to one of the addresses, or rejects when there is none or the signal says so. */
  dial(dialled: Dialled): Promise<Socket>
}

export interface ResolveOptions {
  /** Whether the operator named this host, so that it may be known to this machine alone. */
  readonly isNamed: boolean
  readonly signal: AbortSignal
}

/** The machine's own sockets, and the DNS servers that it is set to, or others. No proxy of the environment is used. */
export const networkOf = ({ servers }: { servers?: readonly string[] } = {}): Network => ({
  async resolve(hostname, { isNamed, signal }) {
    // As the machine does it, hosts file included. Not for names that strangers choose: such a look-up cannot be cancelled, and there are no more
    // than two threads for it, which the store and Redis need, too.
    if (isNamed) return lookup(hostname, { all: true })
    const resolver = new Resolver({ timeout: QUERY_TIME, tries: 2 })
    if (servers) resolver.setServers(servers)
    const cancel = () => resolver.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    try {
      const asked = [resolver.resolve4(hostname), resolver.resolve6(hostname)]
      const [ofFour, ofSix] = await Promise.allSettled(asked)
      const found = [addresses(ofFour, 4), addresses(ofSix, 6)].flat()
      if (found.length === 0 && ofFour?.status === 'rejected') throw ofFour.reason
      return found
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  },

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
})

/** The machine as it is. */
export const machineNetwork = networkOf()

function addresses(answer: PromiseSettledResult<string[]> | undefined, family: number): Address[] {
  return answer?.status === 'fulfilled' ? answer.value.map((address) => ({ address, family })) : []
}
