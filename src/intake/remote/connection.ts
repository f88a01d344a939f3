import { once } from 'node:events'
import { isIP, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import type { Allowance } from '../../config-values.ts'
import { Problem, problemWith } from '../../errors.ts'
import type { Address, Network } from './network.ts'
import { isInternalName, mayReach, type Target } from './target.ts'

export interface ConnectionOptions {
  readonly network: Network
  readonly allow: readonly Allowance[]
  /** Milliseconds for the name, the connection and TLS together. */
  readonly connectTime: number
  readonly signal: AbortSignal
}

/**
 * Connects to a target, if every address that it has may be reached; with TLS, if its URL says so. What is refused is refused before
 * anything is sent, and the same way whatever there is. Rejects with a `Problem`, and then has left no socket.
 */
export async function openConnection(target: Target, options: ConnectionOptions): Promise<Socket> {
  const { network, allow, connectTime } = options
  const tooLate = AbortSignal.timeout(connectTime)
  const signal = AbortSignal.any([options.signal, tooLate])
  try {
    const addresses = await vetted(target, { ...options, signal })
    const socket = await network.dial({ ...target, addresses, signal })
    // That it breaks is told to whoever uses it; nobody may be listening yet, or any more.
    socket.on('error', () => {})
    // Once more at what was really reached, should there be a way between that leads elsewhere.
    if (!mayReach(target, socket.remoteAddress ?? '', allow)) {
      socket.destroy()
      throw forbidden(target, `reached ${socket.remoteAddress}`)
    }
    return target.url.protocol === 'https:' ? await secured(socket, target, signal) : socket
  } catch (cause) {
    if (tooLate.aborted) throw problemWith('url_timeout', { cause })
    if (cause instanceof Problem) throw cause
    throw problemWith('url_unreachable', { cause }, { reason: 'nothing answers there' })
  }
}

async function vetted(
  target: Target,
  options: Pick<ConnectionOptions, 'network' | 'allow' | 'signal'>,
): Promise<readonly Address[]> {
  const { allow } = options
  if (isInternalName(target, allow)) throw forbidden(target, 'internal by its name')
  const addresses = await addressesOf(target, options)
  // One that is not public makes the others doubtful: which is dialled would be chance.
  const wrong = addresses.find(({ address }) => !mayReach(target, address, allow))
  if (wrong !== undefined) throw forbidden(target, `leads to ${wrong.address}`)
  return addresses
}

async function addressesOf(
  { hostname }: Target,
  { network, allow, signal }: Pick<ConnectionOptions, 'network' | 'allow' | 'signal'>,
): Promise<readonly Address[]> {
  const family = isIP(hostname)
  if (family > 0) return [{ address: hostname, family }]
  signal.throwIfAborted()
  const isNamed = allow.some(({ host }) => host === hostname)
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  const unresolvable = (cause: unknown) => {
    throw problemWith('url_unresolvable', { cause })
  }
  const found = await Promise.race([
    network.resolve(hostname, { isNamed, signal }).catch(unresolvable),
    aborted,
  ])
  return found.length > 0 ? found : unresolvable(new Error('no addresses'))
}

/** TLS on a connection, with the certificate checked against the target's name, whatever the environment says of that. */
async function secured(socket: Socket, { hostname }: Target, signal: AbortSignal): Promise<TLSSocket> {
  const secure = connect({
    socket,
    host: hostname,
    // An address is no server name (RFC 6066, section 3).
    servername: isIP(hostname) ? '' : hostname,
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: true,
  })
  try {
    await once(secure, 'secureConnect', { signal })
    secure.on('error', () => {})
    return secure
  } catch (cause) {
    secure.destroy()
    socket.destroy()
    const reason = secure.authorizationError ? 'its certificate is not valid' : 'it does not speak TLS'
    throw problemWith('url_unreachable', { cause }, { reason })
  }
}

/** The operator reads why in the log; the client gets one text for all. */
function forbidden({ hostname, port }: Target, why: string): Problem {
  return problemWith('url_forbidden_address', { cause: new Error(`${hostname}:${port} ${why}`) })
}
