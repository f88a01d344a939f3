import { FETCHERS } from '../vision/fetchers.ts'
import { type Answer, ask, PLAIN, type Question } from './ask.ts'
import { isAllowed } from './robots.ts'
import { PROBE } from './stores.ts'
import { bad, good, skipped, type Verdict } from './verdict.ts'

/** Those that something in front may treat unlike others: who says who it is, and who says nothing. */
const ASKED_AS = FETCHERS.filter(({ id, agent }) => agent !== undefined || id === 'silent')

/** Agents that are known to obey robots.txt, and all others. */
const OBEDIENT = ['Claude-User', 'ClaudeBot', 'Google-Extended', 'GPTBot', 'OAI-SearchBot', '*']

export interface Line {
  readonly title: string
  readonly work: () => Promise<Verdict>
}

/** What a model's fetcher needs of the address of an image, each a line of its own. The image is the probe. */
export function fetchLines(url: string): Line[] {
  return [
    { title: 'GET', work: () => getVerdict(url) },
    { title: 'HEAD', work: () => headVerdict(url) },
    { title: 'Content-Type', work: () => headerVerdict(url, 'content-type', 'image/png') },
    { title: 'Content-Length', work: () => headerVerdict(url, 'content-length', String(PROBE.length)) },
    { title: 'Range', work: () => rangeVerdict(url) },
    { title: 'robots.txt', work: () => robotsVerdict(url) },
    ...ASKED_AS.map(({ name, agent }) => ({
      title: `fetched by ${name}`,
      work: () => fetcherVerdict(url, agent),
    })),
  ]
}

const askPlainly = (url: string, { headers, ...question }: Question = {}) =>
  ask(url, { ...question, headers: { ...PLAIN, ...headers } })

/** Whether an image came, whole; else what came instead. */
function refusalOf({ status, body }: Answer): string | undefined {
  if (status >= 300 && status < 400)
    return `is redirected (${status}), and there are fetchers that do not follow`
  if (status !== 200) return `is answered ${status}`
  return PROBE.equals(body) ? undefined : 'gets other bytes than are stored'
}

async function getVerdict(url: string): Promise<Verdict> {
  const refusal = refusalOf(await askPlainly(url))
  return refusal === undefined
    ? good('gets the image, byte for byte')
    : bad(`${refusal}: pass this path on to Layover as it comes, and change no images`)
}

async function headVerdict(url: string): Promise<Verdict> {
  const { status } = await askPlainly(url, { method: 'HEAD' })
  return status === 200
    ? good('is answered')
    : bad(`is answered ${status}: let HEAD pass like GET, as some gateways ask with it first`)
}

/** Whether GET has this header right, and HEAD too, if it is answered at all. */
async function headerVerdict(url: string, header: string, right: string): Promise<Verdict> {
  for (const method of ['GET', 'HEAD']) {
    const { status, headers } = await askPlainly(url, { method })
    if (status !== 200) continue
    const [value] = String(headers[header] ?? '').split(';')
    if (value !== right)
      return bad(
        `of ${method} is ${value ? 'changed' : 'missing'}, and should be ${right}: do not compress or convert images on the way`,
      )
  }
  return good(right)
}

async function rangeVerdict(url: string): Promise<Verdict> {
  const { status, headers, body } = await askPlainly(url, { headers: { range: 'bytes=10-19' } })
  const isRight =
    status === 206 &&
    headers['content-range'] === `bytes 10-19/${PROBE.length}` &&
    body.equals(PROBE.subarray(10, 20))
  return isRight ? good('gets the bytes asked for') : bad(`is answered ${status}: let the header Range pass`)
}

async function robotsVerdict(url: string): Promise<Verdict> {
  const { status, body } = await askPlainly(new URL('/robots.txt', url).href)
  if (status === 404 || status === 410) return skipped('is not there, which lets everybody in')
  if (status !== 200)
    return bad(`is answered ${status}: pass /robots.txt on to Layover, as some fetchers ask for it first`)
  const path = new URL(url).pathname
  const shutOut = OBEDIENT.filter((agent) => !isAllowed(body.toString(), { agent, path }))
  return shutOut.length === 0
    ? good('lets everybody in')
    : bad(`shuts out ${shutOut.join(', ')}: something in front has rules of its own (some CDNs add them)`)
}

async function fetcherVerdict(url: string, agent: string | undefined): Promise<Verdict> {
  const headers: Record<string, string> = agent === undefined ? {} : { 'user-agent': agent }
  const refusal = refusalOf(await ask(url, { headers }))
  return refusal === undefined
    ? good(agent ?? 'gets the image too')
    : bad(`${refusal}: switch off what blocks bots for the path of the images`)
}
