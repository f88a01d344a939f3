import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Network, networkOf } from '../../src/intake/remote/network.ts'

/** A DNS server of our own: answers for `*.good.test`, says that `*.none.test` does not exist, and never says anything else. */
let server: Socket
let network: Network
beforeEach(async () => {
  server = createSocket('udp4')
  server.on('message', (query, { port, address }) => {
    const answer = answerTo(query)
    if (answer) server.send(answer, port, address)
  })
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')
  network = networkOf({ servers: [`127.0.0.1:${(server.address() as AddressInfo).port}`] })
})
afterEach(() => server.close())

const A = 1
const AAAA = 28

/** RFC 1035, section 4.1: the question as it came, and one address of the type that was asked for. */
function answerTo(query: Buffer): Buffer | undefined {
  const end = query.indexOf(0, 12) + 5
  const name = query.toString('latin1', 12, end - 4)
  const type = query.readUInt16BE(end - 4)
  const isGood = name.includes('good')
  if (!isGood && !name.includes('none')) return undefined
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(isGood ? 0x8180 : 0x8183, 2)
  head.writeUInt16BE(isGood ? 1 : 0, 6)
  head.fill(0, 8, 12)
  const data =
    type === A ? Buffer.from([192, 0, 2, 7]) : Buffer.from('20010db8000000000000000000000007', 'hex')
  const record = Buffer.from([0xc0, 12, 0, type === A ? A : AAAA, 0, 1, 0, 0, 0, 60, 0, data.length])
  return Buffer.concat([head, query.subarray(12, end), ...(isGood ? [record, data] : [])])
}

const stranger = (signal = AbortSignal.timeout(10_000)) => ({ isNamed: false, signal })

test('a name has all its addresses, of both kinds', async () => {
  expect(await network.resolve('images.good.test', stranger())).toEqual([
    { address: '192.0.2.7', family: 4 },
    { address: '2001:db8::7', family: 6 },
  ])
})

test('a name that does not exist is told as such', async () => {
  await expect(network.resolve('images.none.test', stranger())).rejects.toMatchObject({ code: 'ENOTFOUND' })
})

test('names whose servers are silent hold up no other, and are given up at once when nobody waits any more', async () => {
  const gone = new AbortController()
  const silent = Array.from({ length: 20 }, (_, i) =>
    network.resolve(`image${i}.slow.test`, stranger(gone.signal)).then(
      () => 'resolved',
      () => 'given up',
    ),
  )
  const begun = performance.now()
  await network.resolve('images.good.test', stranger())
  // Those before it would wait for seconds.
  expect(performance.now() - begun).toBeLessThan(1000)
  gone.abort()
  expect(new Set(await Promise.all(silent))).toEqual(new Set(['given up']))
  expect(performance.now() - begun).toBeLessThan(1500)
})

test('a host that the operator named is looked up as the machine does it, hosts file included', async () => {
  const found = await network.resolve('localhost', { ...stranger(), isNamed: true })
  expect(found.map(({ address }) => address)).toContain('127.0.0.1')
})
