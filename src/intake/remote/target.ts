import { isIP } from 'node:net'
import type { Allowance } from '../../config-values.ts'
import { isPublic, isWithin } from './public-address.ts'

/** Longest URL, in characters, percent-encoded as it is sent. */
const LONGEST_URL = 2048

const WEB_PORTS = [80, 443]

/** Names that the public DNS never has (RFC 6761, RFC 6762, RFC 8375, and what ICANN set aside for use within). */
const INTERNAL_NAMES = /(^|\.)(localhost|local|internal|home\.arpa)$/

/** A server to be asked, and for what. */
export interface Target {
  readonly url: URL
  /** A name, without a dot at its end, or an address, without brackets. */
  readonly hostname: string
  readonly port: number
}

/** What is wrong with a URL before anybody has been asked anything; the message completes a sentence about it. */
export class BadUrl extends Error {
  override name = 'BadUrl'
}

/** Reads a URL, or a redirect's, which may be relative to `base`. Throws a `BadUrl` that repeats nothing of it. */
export function readTarget(text: string, allow: readonly Allowance[], base?: URL): Target {
  const url = URL.parse(text, base)
  // Without the dot that makes a name absolute, which no certificate has. What is left may be another kind of host.
  if (url) url.hostname = url.hostname.replace(/\.+$/, '')
  if (url === null || url.hostname.endsWith('.')) throw new BadUrl('it is no whole address')
  if (!['http:', 'https:'].includes(url.protocol)) throw new BadUrl('it must begin with http:// or https://')
  if (url.username || url.password) throw new BadUrl('it must not hold a user or a password')
  if (url.href.length > LONGEST_URL) throw new BadUrl(`it has more than ${LONGEST_URL} characters`)
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  if (!WEB_PORTS.includes(port) && !allow.some((one) => one.port === port))
    throw new BadUrl('its port must be 80 or 443')
  return { url, hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'), port }
}

/** Whether a target may be asked at an address that its name has, or that it is. */
export function mayReach({ hostname, port }: Target, address: string, allow: readonly Allowance[]): boolean {
  if (WEB_PORTS.includes(port) && isPublic(address)) return true
  return allow
    .filter((one) => (one.port === undefined ? WEB_PORTS.includes(port) : one.port === port))
    .some((one) => (one.range === undefined ? one.host === hostname : isWithin(address, one.range)))
}

/** Whether a name can only lead inside, so that not even a resolver is asked: some would search the local network for it. */
export function isInternalName({ hostname }: Target, allow: readonly Allowance[]): boolean {
  if (isIP(hostname) > 0 || (hostname.includes('.') && !INTERNAL_NAMES.test(hostname))) return false
  return !allow.some((one) => one.range !== undefined || one.host === hostname)
}

/** Whether a URL lies below one of these addresses, none of which ends in a slash. The scheme does not count. */
export function isBelow({ href }: URL, addresses: readonly string[]): boolean {
  const path = href.replace(/^https?:/, '')
  return addresses.some((address) => `${path}/`.startsWith(`${address.replace(/^https?:/, '')}/`))
}
