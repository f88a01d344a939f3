import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { FETCHERS, type Fetcher, fetcherOf } from '../../src/vision/fetchers.ts'
import { play } from './fetchers.ts'
import { fixture, photos } from './images.ts'
import { freePorts } from './s3-servers.ts'
import { startServer } from './server.ts'
import { installedProxies, startShipped } from './shipped-proxy.ts'
import { call, OWN_KEY } from './ways.ts'

/** `docs/fetchers.md`, from what known fetchers get when they are played: `npm run fetchers` writes it, a test compares it. */
export const PAGE = join(import.meta.dirname, '../../docs/fetchers.md')

/** Of each format, why a fetcher went without it; undefined if it got it. */
export type Outcome = readonly (readonly [format: string, fault: string | undefined])[]

export interface Played {
  readonly fetcher: Fetcher
  readonly direct: Outcome
  readonly nginx: Outcome
  /** What receipts say of its fetches, each way; as many as there were. */
  readonly noted: readonly {
    readonly fetcher: string
    readonly network: string
    readonly complete: boolean
  }[]
  /** Hosts that do something wrong, and why it takes nothing from them; undefined where it does. */
  readonly faults: readonly (readonly [host: string, fault: string | undefined])[]
}

/** Plays all fetchers against a started server, directly and through nginx, and against hosts that do something wrong. */
export async function playAll(): Promise<Played[]> {
  await using server = await startServer({ env: { ...OWN_KEY, TRUST_PROXY: 'loopback' } })
  const to = Number(new URL(server.url).port)
  const [port = 0] = await freePorts(1)
  await using nginx = await startShipped('nginx', { port, to })
  const faulty = await playFaulty()
  const played: Played[] = []
  for (const fetcher of FETCHERS) {
    const outcomes = {
      direct: [] as [string, string | undefined][],
      nginx: [] as [string, string | undefined][],
    }
    const noted: Played['noted'][number][] = []
    for (const { file, format, mediaType } of photos) {
      const { id, path } = await upload(server.url, file, mediaType)
      const wanted = { path, mediaType, bytes: fixture(file) }
      outcomes.direct.push([format, await play(fetcher, { ...wanted, port: to })])
      const { port, cert } = nginx
      outcomes.nginx.push([format, await play(fetcher, { ...wanted, port, cert })])
      noted.push(...(await fetchesOf(server.url, id)))
    }
    played.push({ fetcher, ...outcomes, noted, faults: faulty.get(fetcher.id) ?? [] })
  }
  return played
}

async function upload(url: string, file: string, type: string): Promise<{ id: string; path: string }> {
  const body = JSON.stringify({ data: fixture(file).toString('base64') })
  const headers = { 'content-type': 'application/json' }
  const answer = await call(`${url}/v1/files/uploads/base64`, { method: 'POST', headers, body })
  const { id, url: address, mime_type } = JSON.parse(String(answer.body))
  if (mime_type !== type) throw new Error(`${file} was taken for ${mime_type}`)
  return { id, path: new URL(address).pathname }
}

async function fetchesOf(url: string, id: string): Promise<Played['noted']> {
  const answer = await call(`${url}/v1/files/uploads/${id}/fetches`)
  return JSON.parse(String(answer.body)).fetches
}

const IMAGE = fixture('photo.png')

/** Answers as it should be: the image, or its first bytes. */
function answerRightly({ headers, method }: IncomingMessage, response: ServerResponse): void {
  const [, last] = /^bytes=0-(\d+)$/.exec(headers.range ?? '') ?? []
  const bytes = last === undefined ? IMAGE : IMAGE.subarray(0, Number(last) + 1)
  response.writeHead(last === undefined ? 200 : 206, {
    'content-type': 'image/png',
    'content-length': bytes.length,
    ...(last !== undefined && { 'content-range': `bytes 0-${last}/${IMAGE.length}` }),
  })
  response.end(method === 'HEAD' ? undefined : bytes)
}

/** The same, with something else about its headers. */
const butFor =
  (change: (headers: OutgoingHttpHeaders) => OutgoingHttpHeaders): RequestListener =>
  (request, response) => {
    const { writeHead } = response
    response.writeHead = ((status: number, headers: OutgoingHttpHeaders) =>
      writeHead.call(response, status, change(headers))) as typeof writeHead
    answerRightly(request, response)
  }

/** What other hosts do, and Layover does not. */
const FAULTY: Readonly<Record<string, RequestListener>> = {
  'robots.txt that shuts out all': (request, response) =>
    request.url === '/robots.txt'
      ? response.end('User-agent: *\nDisallow: /\n')
      : answerRightly(request, response),
  'a redirect': (_request, response) => response.writeHead(302, { location: '/there' }).end(),
  'HEAD refused': (request, response) =>
    request.method === 'HEAD' ? response.writeHead(405).end() : answerRightly(request, response),
  '`application/octet-stream`': butFor((headers) => ({
    ...headers,
    'content-type': 'application/octet-stream',
  })),
  'no Content-Length': butFor(({ 'content-length': _length, ...headers }) => headers),
  compressed: ({ headers, method }, response) => {
    const bytes = gzipSync(headers.range ? IMAGE.subarray(0, 1024) : IMAGE)
    const coded = { 'content-length': bytes.length, 'content-encoding': 'gzip' }
    response.writeHead(headers.range ? 206 : 200, { 'content-type': 'image/png', ...coded })
    response.end(method === 'HEAD' ? undefined : bytes)
  },
  'no ranges': (request, response) => {
    delete request.headers.range
    answerRightly(request, response)
  },
  'a User-Agent wanted': (request, response) =>
    request.headers['user-agent'] === undefined
      ? response.writeHead(403).end()
      : answerRightly(request, response),
}

/** What each fetcher takes from hosts that do something wrong, by its id. */
async function playFaulty(): Promise<Map<string, Played['faults']>> {
  const faults = new Map<string, [string, string | undefined][]>(FETCHERS.map(({ id }) => [id, []]))
  for (const [host, listener] of Object.entries(FAULTY)) {
    const server = createServer({ requireHostHeader: false }, (request, response) => {
      if (request.url === '/robots.txt' && !host.startsWith('robots')) response.writeHead(404).end()
      else listener(request, response)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const wanted = { port, path: '/photo.png', bytes: IMAGE, mediaType: 'image/png' }
    for (const fetcher of FETCHERS) faults.get(fetcher.id)?.push([host, await play(fetcher, wanted)])
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  return faults
}

const NAMES: Readonly<Record<string, string>> = { jpeg: 'JPEG', png: 'PNG', gif: 'GIF', webp: 'WebP' }

/** The page. It has nothing that differs from run to run. */
export function pageOf(played: readonly Played[]): string {
  const hosts = Object.keys(FAULTY)
  return `# Who fetches images for models

Made by \`npm run fetchers\` from \`src/vision/fetchers.ts\` and from what happens when each of these fetchers is played, request by request, against
a started server: on bare sockets, with the headers, the order and the limits that are known of it, for a JPEG, a PNG, a GIF and a WebP, directly
and over TLS through an nginx with the settings of [deploy/nginx.conf](../deploy/nginx.conf). \`test/e2e/fetchers.test.ts\` does it again and compares. [Receipts](api.md#who-has-fetched-an-image)
and the metric \`layover_fetches_total\` call them by the name in the second column; whoever is not known is \`other\`.

What is played is what is known, which is not much: of all these only Runway says in writing how it fetches. "Known from" tells what kind of knowledge
it is: \`documented\` by its maker; \`code\`, its own, which anybody can read; \`seen\` by operators in their logs; \`assumed\`, where what is hardest to please was
taken. Whether a model takes a format is another question: that it can be fetched does not mean that it can be understood.

## What they ask, and get

${tableOf(
  [
    'Fetcher',
    'Name',
    'User-Agent',
    'Asks',
    'Besides',
    'Needs',
    'Waits',
    'Known from',
    'Directly',
    'Through nginx',
  ],
  played.map(({ fetcher, direct, nginx }) => [
    fetcher.name,
    nameIn(fetcher),
    fetcher.agent === undefined ? 'none' : `\`${fetcher.agent}\``,
    fetcher.asks.map(askText).join(', then ') + (fetcher.version === '1.0' ? ', in HTTP/1.0' : ''),
    Object.entries(fetcher.headers)
      .map(([name, value]) => `\`${name}: ${value}\``)
      .join(' '),
    needsOf(fetcher).join(', '),
    `${fetcher.patience} s`,
    `${fetcher.basis}: ${fetcher.source} (${fetcher.asOf})`,
    outcomeText(direct),
    outcomeText(nginx),
  ]),
)}

## What they would not take from another host

The same fetchers, and hosts that each do one thing that Layover does not. ✗ is a picture that the model does not get, ✗? one that it
may not get, as what this fetcher does is not known for sure; an empty cell is one that it gets. This is why Layover
answers as it does, and what to look for in a proxy or CDN in front of it; \`npm run doctor\` looks.

${tableOf(
  ['Fetcher', ...hosts],
  played.map(({ fetcher, faults }) => [
    fetcher.name,
    ...faults.map(([, fault]) => (fault === undefined ? '' : crossOf(fetcher))),
  ]),
)}

Not played: that Runway takes no address in place of a name, and how far away a fetcher is.
`
}

function crossOf({ basis }: Fetcher): string {
  return basis === 'documented' || basis === 'code' ? '✗' : '✗?'
}

function nameIn({ agent, pattern }: Fetcher): string {
  return `\`${pattern === undefined ? 'other' : fetcherOf(agent)}\``
}

function askText(ask: Fetcher['asks'][number]): string {
  if (ask === 'robots') return '`/robots.txt`'
  return ask === 'head' ? 'GET with `Range`' : ask
}

function needsOf({ needs, follows, robots }: Fetcher): string[] {
  return [
    ...(needs.includes('content-type') ? ['the right type'] : []),
    ...(needs.includes('content-length') ? ['the exact length'] : []),
    ...(follows ? [] : ['no redirect']),
    ...(robots === undefined ? [] : [`robots.txt that lets \`${robots}\` in`]),
  ]
}

function outcomeText(outcome: Outcome): string {
  return outcome
    .map(([format, fault]) => (fault === undefined ? `${NAMES[format]} ✓` : `${NAMES[format]} ✗ ${fault}`))
    .join(' ')
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

if (import.meta.main) {
  if (!installedProxies().includes('nginx')) process.exit(1)
  writeFileSync(PAGE, pageOf(await playAll()))
}
