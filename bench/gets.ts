import { join } from 'node:path'
import type { ImageName } from '../src/name.ts'
import { sha256 } from '../test/support/images.ts'
import { ask } from './ask.ts'
import type { Contestant } from './contestants/contestant.ts'
import type { Gallery } from './gallery.ts'
import type { HeadClients, HeadResult } from './head-clients.ts'
import { measure, measureWith, type Round } from './measure.ts'
import { end, firstLine, launch, onLoadCore } from './process.ts'
import type { Way } from './scenarios.ts'
import { type LoadResult, writeScript } from './wrk.ts'

export interface GetRun {
  readonly way: Way
  /** Bytes of the image. */
  readonly size: number
  readonly connections: number
  /** Whole seconds. */
  readonly seconds: number
  readonly scripts: string
  readonly gallery: Gallery
}

/** Images that are asked for again and again. */
const FEW = 4
/** Of a range, both in bytes. */
const RANGE = 64 * 1024
const startOfRange = (size: number) => Math.floor(size / 2)

/** One round of GETs of one server. Rejects if an answer is not what it has to be. */
export async function getRound(server: Contestant, run: GetRun): Promise<Round> {
  const { pathOf } = server
  if (pathOf === undefined) throw new Error(`${server.name} serves no images`)
  const { names } = run.gallery.of(run.size)
  const asked = run.way === 'first' ? names : names.slice(0, run.way === 'again' ? FEW : 1)
  const check = () => checkOne(server, run, asked[Math.floor(Math.random() * asked.length)])
  const headers = await headersOf(server, run, asked[0])
  await check()
  const script = await writeScript(run.scripts, 'get', { method: 'GET', headers, paths: asked.map(pathOf) })
  const round =
    run.way === 'head'
      ? await measureWith(server, () => runHeads(server, run, pathTo(server, asked[0])))
      : await measure(server, { ...run, script, offset: Math.random() })
  if (round.faults === '' && round.bytes < round.requests * bodyBytes(run))
    throw new Error(`${server.name} has answered fewer bytes than were asked for`)
  await check()
  return round
}

/** Bytes of the body of each answer. */
export function bodyBytes({ way, size }: Pick<GetRun, 'way' | 'size'>): number {
  return way === 'head' || way === 'unchanged' ? 0 : way === 'range' ? RANGE : size
}

async function headersOf(server: Contestant, { way, size }: GetRun, image: ImageName | undefined) {
  const headers: Record<string, string> = {}
  const start = startOfRange(size)
  if (way === 'range') headers.range = `bytes=${start}-${start + RANGE - 1}`
  if (way === 'unchanged') {
    const { headers: found } = await ask(server.url + pathTo(server, image))
    headers['if-none-match'] = String(found.etag)
  }
  return headers
}

const pathTo = ({ pathOf }: Contestant, image: ImageName | undefined) => (image && pathOf?.(image)) ?? '/'

async function runHeads({ url }: Contestant, run: GetRun, path: string): Promise<LoadResult> {
  const { connections, seconds } = run
  const order: HeadClients = { port: Number(new URL(url).port), path, connections, seconds }
  const script = join(import.meta.dirname, 'head-clients.ts')
  const child = launch([...onLoadCore, process.execPath, script, JSON.stringify(order)])
  const { refused, ...result }: HeadResult = JSON.parse(await firstLine(child))
  await end(child)
  return { ...result, faults: refused > 0 ? `${refused} refused or broken off` : '' }
}

/** Asks for an image and compares the answer with what was stored. */
async function checkOne(server: Contestant, run: GetRun, image: ImageName | undefined): Promise<void> {
  const { way, size, gallery } = run
  const url = server.url + pathTo(server, image)
  const headers = await headersOf(server, run, image)
  const method = way === 'head' ? 'HEAD' : 'GET'
  const answer = await ask(url, { method, headers })
  const whole = way === 'first' || way === 'again' ? answer.body : (await ask(url)).body
  const start = startOfRange(size)
  const expected = { head: 200, unchanged: 304, range: 206, first: 200, again: 200 }[way]
  const isRight =
    answer.status === expected &&
    image !== undefined &&
    sha256(whole) === gallery.of(size).hashOf(image) &&
    answer.body.length === bodyBytes(run) &&
    (way !== 'head' || Number(answer.headers['content-length']) === size) &&
    (way === 'unchanged' || answer.headers['content-type'] === 'image/png') &&
    (way !== 'range' || answer.body.equals(whole.subarray(start, start + RANGE)))
  if (!isRight) throw new Error(`${server.name} has answered ${method} wrongly (status ${answer.status})`)
}
