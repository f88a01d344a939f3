import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

type Range = ReturnType<typeof ipaddr.parseCIDR>

/** IPv4 that is nobody's public server: IANA's special-purpose registry, multicast, and what is reserved. */
const SPECIAL_IPV4 = ranges(
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  // Link-local, with the metadata service of most clouds.
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
)

/**
 * Formally public addresses at which a cloud's machines, and nobody else, find services of the
 * cloud. URL_FETCH_ALLOW can open them. Metadata services at link-local, shared or unique local
 * addresses (169.254.169.254, 100.100.100.200, fd00:ec2::254) are refused as such.
 */
const CLOUD_INTERNAL = ranges(
  // Azure's platform: the machine's agent, DNS, load balancer probes.
  // https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
  '168.63.129.16/32',
  // IBM Cloud: infrastructure services (mirrors, DNS, NTP, object storage), and the private endpoints of all others.
  // https://cloud.ibm.com/docs/vpc?topic=vpc-service-endpoints-for-vpc
  '161.26.0.0/16',
  '166.8.0.0/14',
  // Google Cloud: restricted.googleapis.com and private.googleapis.com, which are not announced to the internet.
  // https://cloud.google.com/vpc/docs/configure-private-google-access-hybrid
  '199.36.153.4/30',
  '199.36.153.8/30',
  '2600:2d00:2:1000::/64',
  '2600:2d00:2:2000::/64',
)

/** All of IPv6 that is given out to anybody's servers. Mapped and translated IPv4, ULA and link-local lie outside. */
const [GLOBAL_IPV6] = ranges('2000::/3') as [Range]

/** What is special within it. */
const SPECIAL_IPV6 = ranges(
  // Teredo, ORCHID and the rest of the protocol assignments.
  '2001::/23',
  '2001:db8::/32',
  // 6to4, which holds an IPv4 address of any kind.
  '2002::/16',
  '2620:4f:8000::/48',
  // Given back, and given to nobody since.
  '3ffe::/16',
  '3fff::/20',
)

/**
 * Whether an address, as a resolver or a socket writes it, is a public unicast one that no cloud
 * keeps to itself.
 */
export function isPublic(address: string): boolean {
  // A zone names an interface, so that is an address of this machine's own links.
  if (isIP(address) === 0 || address.includes('%')) return false
  const parsed = ipaddr.parse(address)
  if (CLOUD_INTERNAL.some((range) => range[0].kind() === parsed.kind() && parsed.match(range))) return false
  if (parsed.kind() === 'ipv4') return !SPECIAL_IPV4.some((range) => parsed.match(range))
  const isSpecial = SPECIAL_IPV6.some((range) => parsed.match(range)) || isTunnel(parsed as ipaddr.IPv6)
  return parsed.match(GLOBAL_IPV6) && !isSpecial
}

/** Whether an address lies in a range, like `10.0.0.0/8`. */
export function isWithin(address: string, range: string): boolean {
  if (isIP(address) === 0 || address.includes('%')) return false
  const [parsed, parsedRange] = [ipaddr.parse(address), ipaddr.parseCIDR(range)]
  return parsed.kind() === parsedRange[0].kind() && parsed.match(parsedRange)
}

/** ISATAP: an IPv4 address of any kind at the end of an IPv6 address of any network (RFC 5214, section 6.1). */
function isTunnel({ parts }: ipaddr.IPv6): boolean {
  const [, , , , first, second] = parts
  return (first === 0 || first === 0x200) && second === 0x5efe
}

function ranges(...texts: string[]): Range[] {
  return texts.map((text) => ipaddr.parseCIDR(text))
}
