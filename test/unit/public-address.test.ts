import { describe, expect, test } from 'vitest'
import { isPublic, isWithin } from '../../src/intake/remote/public-address.ts'

/** The first and the last address of each range that is not public. */
const special = [
  ['this network', '0.0.0.0', '0.255.255.255'],
  ['private', '10.0.0.0', '10.255.255.255'],
  ['carrier-grade NAT', '100.64.0.0', '100.127.255.255'],
  ['loopback', '127.0.0.0', '127.255.255.255'],
  ['link-local', '169.254.0.0', '169.254.255.255'],
  ['Azure’s own services', '168.63.129.16', '168.63.129.16'],
  ['IBM Cloud’s infrastructure', '161.26.0.0', '161.26.255.255'],
  ['IBM Cloud’s private endpoints', '166.8.0.0', '166.11.255.255'],
  ['Google’s restricted APIs', '199.36.153.4', '199.36.153.7'],
  ['Google’s private APIs', '199.36.153.8', '199.36.153.11'],
  ['Google’s restricted APIs', '2600:2d00:2:1000::', '2600:2d00:2:1000:ffff:ffff:ffff:ffff'],
  ['Google’s private APIs', '2600:2d00:2:2000::', '2600:2d00:2:2000:ffff:ffff:ffff:ffff'],
  ['metadata services', '169.254.169.254', '100.100.100.200'],
  ['metadata services', 'fd00:ec2::254', 'fd20:ce::254'],
  ['metadata services', '192.0.0.192', '169.254.0.23'],
  ['private', '172.16.0.0', '172.31.255.255'],
  ['protocol assignments', '192.0.0.0', '192.0.0.255'],
  ['documentation', '192.0.2.0', '192.0.2.255'],
  ['AS112', '192.31.196.0', '192.31.196.255'],
  ['AMT', '192.52.193.0', '192.52.193.255'],
  ['6to4 relays', '192.88.99.0', '192.88.99.255'],
  ['private', '192.168.0.0', '192.168.255.255'],
  ['AS112', '192.175.48.0', '192.175.48.255'],
  ['benchmarking', '198.18.0.0', '198.19.255.255'],
  ['documentation', '198.51.100.0', '198.51.100.255'],
  ['documentation', '203.0.113.0', '203.0.113.255'],
  ['multicast', '224.0.0.0', '239.255.255.255'],
  ['reserved', '240.0.0.0', '255.255.255.254'],
  ['broadcast', '255.255.255.255', '255.255.255.255'],
  ['unspecified', '::', '::'],
  ['loopback', '::1', '::1'],
  ['compatible IPv4', '::8.8.8.8', '::127.0.0.1'],
  ['mapped IPv4', '::ffff:0.0.0.0', '::ffff:255.255.255.255'],
  ['mapped public IPv4', '::ffff:8.8.8.8', '::ffff:1.1.1.1'],
  ['translated IPv4', '::ffff:0:0.0.0.0', '::ffff:0:255.255.255.255'],
  ['NAT64', '64:ff9b::', '64:ff9b::ffff:ffff'],
  ['local NAT64', '64:ff9b:1::', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'],
  ['discard', '100::', '100::ffff:ffff:ffff:ffff'],
  ['dummy', '100:0:0:1::', '100:0:0:1:ffff:ffff:ffff:ffff'],
  ['below what is given out', '2::', '1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['protocol assignments', '2001::', '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['Teredo', '2001::', '2001:0:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['anycast', '2001:1::1', '2001:1::3'],
  ['benchmarking', '2001:2::', '2001:2:0:ffff:ffff:ffff:ffff:ffff'],
  ['AMT', '2001:3::', '2001:3:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['AS112', '2001:4:112::', '2001:4:112:ffff:ffff:ffff:ffff:ffff'],
  ['ORCHID', '2001:10::', '2001:1f:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['ORCHIDv2', '2001:20::', '2001:2f:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['drone ids', '2001:30::', '2001:3f:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['documentation', '2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['6to4', '2002::', '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['AS112', '2620:4f:8000::', '2620:4f:8000:ffff:ffff:ffff:ffff:ffff'],
  ['6bone', '3ffe::', '3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['documentation', '3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['above what is given out', '4000::', '4000::1'],
  ['segment routing', '5f00::', '5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['unique local', 'fc00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['link-local', 'fe80::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['site-local', 'fec0::', 'feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['multicast', 'ff00::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['ISATAP', '2a00:1450::5efe:10.0.0.1', '2a00:1450::200:5efe:8.8.8.8'],
] as const

const open = [
  ...['1.0.0.0', '1.1.1.1', '8.8.8.8', '9.255.255.255', '11.0.0.0', '93.184.216.34'],
  ...['100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.0', '168.63.129.15', '168.63.129.17'],
  ...['169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0', '191.255.255.255', '192.0.1.0'],
  ...['192.0.3.0', '192.31.195.255', '192.88.98.255', '192.88.100.0', '192.167.255.255', '192.169.0.0'],
  ...['198.17.255.255', '198.20.0.0', '198.51.99.255', '198.51.101.0', '203.0.112.255', '203.0.114.0'],
  ...['223.255.255.255', '2000::', '2001:200::', '2001:4860:4860::8888', '2001:db7:ffff::', '2001:db9::'],
  ...['2003::', '2400:cb00::1', '2606:4700:4700::1111', '2620:4f:7fff::', '2620:4f:8001::', '2a00:1450::1'],
  ...['161.25.255.255', '161.27.0.0', '166.7.255.255', '166.12.0.0', '199.36.153.3', '199.36.153.12'],
  ...['2600:2d00:2:fff:ffff:ffff:ffff:ffff', '2600:2d00:2:1001::', '2600:2d00:2:2001::'],
  ...['2c0f:fb50::1', '3ffd::1', '2a00:1450::1:5efe:0:0'],
]

describe('an address is not public', () => {
  test.each(special)('%s: %s, %s', (_what, first, last) => {
    expect([isPublic(first), isPublic(last)]).toEqual([false, false])
  })

  test.each([
    '',
    'localhost',
    '127.1',
    '0x08080808',
    '8.8.8.8/8',
    '2606:4700::1111%eth0',
    'fe80::1%lo',
    '[::1]',
  ])('%j, which is none as a socket writes it', (text) => expect(isPublic(text)).toBe(false))
})

test.each(open)('%s is public', (address) => expect(isPublic(address)).toBe(true))

test.each([
  ['10.1.2.3', '10.0.0.0/8', true],
  ['11.0.0.0', '10.0.0.0/8', false],
  ['::1', '::1/128', true],
  ['127.0.0.1', '::1/128', false],
  ['::ffff:10.0.0.1', '10.0.0.0/8', false],
  ['fd00::1', 'fd00::/8', true],
  ['fe80::1%lo', 'fe80::/10', false],
  ['x', '10.0.0.0/8', false],
])('whether %s lies in %s: %s', (address, range, expected) => {
  expect(isWithin(address, range)).toBe(expected)
})
