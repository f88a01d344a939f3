import ipaddr from 'ipaddr.js'
import { BoundedMap } from '../bounded-map.ts'

const IPV4 = /^(?:::ffff:)?(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}$/i

/** The network of an address, `203.0.113.0/24` or `2001:db8:1::/48`: enough to tell whose it is, and not who. `unknown` for what is no address. */
export function networkOf(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  // Nearly all are of this form, for which the library takes many times as long.
  const [, start] = IPV4.exec(address) ?? []
  if (start !== undefined) return `${start}.0/24`
  const before = known.get(address)
  if (before !== undefined) return before
  const network = parsedNetworkOf(address)
  known.set(address, network)
  return network
}

/** Networks of the addresses that came last: most come with many requests. */
const known = new BoundedMap<string>(1000)

function parsedNetworkOf(address: string): string {
  if (!ipaddr.isValid(address)) return 'unknown'
  const parsed = ipaddr.process(address)
  if (!(parsed instanceof ipaddr.IPv6)) return networkOf(parsed.toString())
  const [a = 0, b = 0, c = 0] = parsed.parts
  return `${new ipaddr.IPv6([a, b, c, 0, 0, 0, 0, 0])}/48`
}
