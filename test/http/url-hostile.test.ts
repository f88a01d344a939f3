import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.ts'
import { type Origin, startOrigin, startRawOrigin, testNetwork, uploadByUrl } from '../support/remote.ts'

/** An address that is public, which no test ever reaches. */
const PUBLIC = '93.184.216.34'

const names = {
  'origin.test': ['127.0.0.1'],
  'public.test': [PUBLIC],
  'private.test': ['10.0.0.5'],
  'loop.test': ['127.0.0.1'],
  'loop6.test': ['::1'],
  'mapped.test': ['::ffff:127.0.0.1'],
  'metadata.test': ['169.254.169.254'],
  'zone.test': ['fe80::1%lo'],
  'nat64.test': ['64:ff9b::7f00:1'],
  'none.test': [],
  'mixed.test': [PUBLIC, '127.0.0.1'],
  'mixed6.test': ['::1', PUBLIC],
  'late.test': [[PUBLIC], ['127.0.0.1']],
  localhost: ['127.0.0.1'],
  intranet: ['127.0.0.1'],
}

let app: TestApp
let victim: Origin
let origin: Origin
let network: ReturnType<typeof testNetwork>
beforeAll(async () => {
  victim = await startRawOrigin(() => {})
  origin = await startOrigin((request, response) => {
    const to = new URL(request.url ?? '', 'http://x').searchParams.get('to') ?? ''
    // As UTF-8, which servers send though they should not.
    const location = Buffer.from(to).toString('latin1')
    response.writeHead(302, { location, 'content-length': 0 }).end()
  })
  network = testNetwork(names)
  // The port of the victim is open to a host that no URL here names, so that its port alone refuses nothing.
  const allow = [`nobody.test:${victim.port}`, `origin.test:${origin.port}`]
  app = await startApp({
    env: { URL_FETCH_ALLOW: allow.join(','), PUBLIC_URL: 'https://images.example.com' },
    network,
  })
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await victim[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
})
beforeEach(() => {
  network.asked.length = 0
  network.dialled.length = 0
})

/** Loopback in every way to write it, with the victim's port. */
const loopback = [
  'http://127.0.0.1:PORT/',
  'https://127.0.0.1:PORT/',
  'http://127.0.0.1.:PORT/',
  'http://127.0.0.1..:PORT/',
  'http://2130706433..:PORT/',
  'http://0x7f.1..:PORT/',
  'http://127.1:PORT/',
  'http://127.0.1:PORT/',
  'http://2130706433:PORT/',
  'http://0x7f000001:PORT/',
  'http://0x7f.1:PORT/',
  'http://0x7f.0x0.0x0.0x1:PORT/',
  'http://0177.0.0.1:PORT/',
  'http://017700000001:PORT/',
  'http://00000177.0.0.1:PORT/',
  'http://127.0.0.0x1:PORT/',
  'http://127.255.255.254:PORT/',
  'http://0:PORT/',
  'http://0.0.0.0:PORT/',
  'http://127.0.0.1:PORT',
  'http:127.0.0.1:PORT/',
  'http:\\\\127.0.0.1:PORT\\',
  ' http://127.0.0.1:PORT/ ',
  'ht\ntp://127.0.\t0.1:PORT/',
  'HTTP://127.0.0.1:PORT/photo.png?x=https://example.com#https://example.com',
  'http://%31%32%37.0.0.1:PORT/',
  'http://127%2e0%2e0%2e1:PORT/',
  'http://１２７.０.０.１:PORT/',
  'http://①②⑦.⓪.⓪.①:PORT/',
  'http://127。0。0。1:PORT/',
  'http://[::1]:PORT/',
  'http://[0:0:0:0:0:0:0:1]:PORT/',
  'http://[0000::0001]:PORT/',
  'http://[::]:PORT/',
  'http://[::127.0.0.1]:PORT/',
  'http://[::ffff:127.0.0.1]:PORT/',
  'http://[::ffff:7f00:1]:PORT/',
  'http://[::ffff:0:127.0.0.1]:PORT/',
  'http://[64:ff9b::127.0.0.1]:PORT/',
  'http://[64:ff9b:1::7f00:1]:PORT/',
  'http://[2002:7f00:1::]:PORT/',
  'http://[2001:0:7f00:1::80ff:fffe]:PORT/',
  'http://[2a00::5efe:127.0.0.1]:PORT/',
  'http://localhost:PORT/',
  'http://LOCALHOST:PORT/',
  'http://localhost.:PORT/',
  'http://localhost..:PORT/',
  'http://ｌｏｃａｌｈｏｓｔ:PORT/',
  'http://a.localhost:PORT/',
  'http://printer.local:PORT/',
  'http://metadata.google.internal:PORT/',
  'http://router.home.arpa:PORT/',
  'http://intranet:PORT/',
  'http://loop.test:PORT/',
  'http://loop6.test:PORT/',
  'http://LOOP.test.:PORT/',
  'http://mapped.test:PORT/',
  'http://nat64.test:PORT/',
  'http://mixed.test:PORT/',
  'http://mixed6.test:PORT/',
]

/** What is not loopback, where only the dialler can prove that nothing is sent. */
const elsewhere = [
  'http://10.0.0.1/',
  'http://172.31.255.255/',
  'http://192.168.0.1/',
  'http://0xa.1/',
  'http://100.64.0.1/',
  'http://100.100.100.200/latest/meta-data/',
  'http://169.254.169.254/latest/meta-data/',
  'http://2852039166/',
  'http://0xa9fea9fe/',
  'http://0251.0376.0251.0376/',
  'http://168.63.129.16/',
  'http://192.0.0.192/',
  'http://192.0.2.1/',
  'http://198.18.0.1/',
  'http://198.51.100.1/',
  'http://203.0.113.1/',
  'http://192.88.99.1/',
  'http://224.0.0.1/',
  'http://239.255.255.250/',
  'http://240.0.0.1/',
  'http://255.255.255.255/',
  'http://[fd00:ec2::254]/',
  'http://[fc00::1]/',
  'http://[fe80::1]/',
  'http://[fec0::1]/',
  'http://[ff02::1]/',
  'http://[100::1]/',
  'http://[2001:db8::1]/',
  'http://[3fff::1]/',
  'http://[5f00::1]/',
  'http://[::ffff:169.254.169.254]/',
  'http://[64:ff9b::a9fe:a9fe]/',
  'https://private.test/',
  'https://metadata.test/',
  'http://zone.test/',
  'https://mixed.test/photo.png',
  'https://mixed6.test/photo.png',
]

/** What is no address to fetch from at all. */
const invalid = [
  '',
  ' ',
  'photo.png',
  '//127.0.0.1/',
  '/etc/passwd',
  'file:///etc/passwd',
  'ftp://127.0.0.1/',
  'gopher://127.0.0.1:6379/_INFO',
  'data:image/png;base64,iVBORw0KGgo=',
  'javascript:alert(1)',
  'blob:http://127.0.0.1/x',
  'unix:/var/run/docker.sock',
  'http://',
  'http://./',
  'http://../',
  'http://public.1../',
  'http://user@example.com/',
  'http://user:password@example.com/',
  'http://example.com@127.0.0.1/',
  'http://:password@example.com/',
  'http://[fe80::1%25lo]/',
  'http://[fe80::1%lo]/',
  'http://256.0.0.1/',
  'http://1.2.3.4.5/',
  'http://127.0.0.1:22/',
  'http://public.test:8080/',
  'http://public.test:0/',
  'http://public.test:99999/',
  'http://exa mple.com/',
  `http://public.test/${'x'.repeat(2048)}`,
]

const withPort = (url: string) => url.replace('PORT', String(victim.port))

/** Nothing was sent to anybody but the origin, and nothing is kept. */
async function expectNothingSent() {
  const others = network.dialled.filter(({ port }) => port !== origin.port)
  expect(others).toEqual([])
  expect(victim.seen).toBe(0)
  expect(await app.files()).toEqual([])
}

describe('a URL that leads inside is refused before anything is sent', () => {
  test.each([...loopback, ...elsewhere])('%j', async (url) => {
    const { status, code, body } = await uploadByUrl(app, { url: withPort(url) })
    expect({ status, code }).toEqual({ status: 403, code: 'url_forbidden_address' })
    // One text for all of them, which tells nothing of what is there.
    expect(body.error).toEqual((await uploadByUrl(app, { url: 'http://10.0.0.1/' })).body.error)
    await expectNothingSent()
  })

  // No header holds a line break.
  const inHeaders = [...loopback, ...elsewhere].filter((url) => !url.includes('\n'))
  test.each(inHeaders)('and so is a redirect to %j', async (url) => {
    const to = encodeURIComponent(withPort(url))
    const { code } = await uploadByUrl(app, { url: `http://origin.test:${origin.port}/?to=${to}` })
    // What stands without a host in a Location is a path of the origin's own.
    const isRelative = url.startsWith('http:127')
    expect(code).toBe(isRelative ? 'url_redirect_refused' : 'url_forbidden_address')
    await expectNothingSent()
  })
})

describe('a URL that cannot be fetched is refused before anybody is asked', () => {
  test.each(invalid)('%j', async (url) => {
    const { status, code } = await uploadByUrl(app, { url })
    expect({ status, code }).toEqual({ status: 400, code: 'url_invalid' })
    expect(network.asked).toEqual([])
    await expectNothingSent()
  })

  test.each([undefined, null, 5, ['https://example.com/'], { href: 'https://example.com/' }])(
    '%j, which is no text',
    async (url) => {
      expect(await uploadByUrl(app, { url })).toMatchObject({ status: 400, code: 'url_invalid' })
    },
  )

  test.each([
    'file:///etc/passwd',
    'http://u:p@public.test/',
    'http://public.test:22/',
    'data:,x',
    'http://',
  ])('and so is a redirect to %j', async (to) => {
    const url = `http://origin.test:${origin.port}/?to=${encodeURIComponent(to)}`
    expect(await uploadByUrl(app, { url })).toMatchObject({ status: 422, code: 'url_redirect_refused' })
    await expectNothingSent()
  })

  test('one of this server’s own, whatever the spelling', async () => {
    for (const url of [
      'https://images.example.com/uploads/2026/01/x.png',
      'http://IMAGES.example.com./uploads/2026/01/x.png',
      'https://images.example.com:443',
    ])
      expect(await uploadByUrl(app, { url })).toMatchObject({ status: 400, code: 'url_of_this_server' })
    const to = encodeURIComponent('https://images.example.com/x.png')
    expect(await uploadByUrl(app, { url: `http://origin.test:${origin.port}/?to=${to}` })).toMatchObject({
      code: 'url_of_this_server',
    })
    expect(await uploadByUrl(app, { url: 'https://images.example.com.test/' })).toMatchObject({
      code: 'url_unresolvable',
    })
    await expectNothingSent()
  })
})

describe('a name that changes its addresses', () => {
  test('is asked for once, and what is dialled are the addresses that were checked', async () => {
    const { code } = await uploadByUrl(app, { url: 'http://late.test/photo.png' })
    expect(code).toBe('url_unreachable')
    expect(network.asked).toEqual(['late.test'])
    expect(network.dialled.map(({ addresses }) => addresses)).toEqual([[{ address: PUBLIC, family: 4 }]])
    expect(victim.seen).toBe(0)
  })

  test('is checked again at a redirect', async () => {
    await uploadByUrl(app, { url: 'http://late.test/photo.png' })
    network.dialled.length = 0
    const to = encodeURIComponent('http://late.test/')
    const again = await uploadByUrl(app, { url: `http://origin.test:${origin.port}/?to=${to}` })
    expect(again.code).toBe('url_forbidden_address')
    await expectNothingSent()
  })

  test('is not served where the connection turns out to lead inside', async () => {
    const inside = await startRawOrigin(() => {})
    const turned = testNetwork(names)
    turned.dial = async () => {
      const socket = connect(inside.port, '127.0.0.1')
      await once(socket, 'connect')
      return socket
    }
    await using other = await startApp({ network: turned })
    for (const url of ['http://public.test/', 'https://public.test/'])
      expect(await uploadByUrl(other, { url })).toMatchObject({ code: 'url_forbidden_address' })
    expect({ seen: inside.seen, received: inside.received }).toEqual({ seen: 2, received: '' })
    await inside[Symbol.asyncDispose]()
  })
})

test('a name without an address is told from one that leads inside', async () => {
  for (const url of ['https://none.test/', 'https://unknown.test/'])
    expect(await uploadByUrl(app, { url })).toMatchObject({ status: 422, code: 'url_unresolvable' })
})

test('a public address is dialled at the port of its scheme', async () => {
  for (const [url, port] of [
    ['http://public.test/', 80],
    ['https://public.test/', 443],
    [`http://${PUBLIC}:443/`, 443],
    ['https://[2606:2800:220:1::1]/', 443],
  ] as const) {
    expect(await uploadByUrl(app, { url })).toMatchObject({ status: 422, code: 'url_unreachable' })
    expect(network.dialled.at(-1)?.port).toBe(port)
  }
})

test('URL_FETCH=off refuses all, before the body is read', async () => {
  await using off = await startApp({ env: { URL_FETCH: 'off' }, network })
  expect(await uploadByUrl(off, { url: 'https://public.test/' })).toMatchObject({
    status: 403,
    code: 'url_fetch_off',
  })
  expect(network.asked).toEqual([])
})
