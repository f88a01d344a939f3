import ipaddr from 'ipaddr.js'

const IPV4 = /^(?:::ffff:)?(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}$/i

/** The network of an address, `203.0.113.0/24` or `2001:db8:1::/48`: enough to tell whose it is, and not who. `unknown` for what is no address. */
export function networkOf(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  // Nearly all are of this form, for which the library takes many times as long.
  const [, start] = IPV4.exec(address) ?? []
  if (start !== undefined) return `${start}.0/24`
  if (!ipaddr.isValid(address)) return 'unknown'
  const parsed = ipaddr.process(address)
  if (!(parsed instanceof ipaddr.IPv6)) return networkOf(parsed.toString())
  const [a = 0, b = 0, c = 0] = parsed.parts
  return `${new ipaddr.IPv6([a, b, c, 0, 0, 0, 0, 0])}/48`
}
