import type { FastifyReply, FastifyRequest } from 'fastify'
import { Problem, problem } from '../errors.ts'
import { fileMissing, mostBytes, readFiles, refuseTooLarge, refuseTooManyBytes } from '../intake/multipart.ts'
import { type AskedLifetime, refuseBadOptions, type Translate } from '../intake/options.ts'
import { readRaw } from '../intake/raw.ts'
import type { ImageName } from '../name.ts'
import type { ProblemText } from '../problem-text.ts'
import { refuseOtherMethods } from '../routes/other-methods.ts'
import { takeUpload } from '../routes/take-upload.ts'
import { takeUploads } from '../routes/take-uploads.ts'
import { type Adapter, type AdapterParts, TEXT } from './adapter.ts'
import { PLAIN } from './describe-adapters.ts'
import { takeFromUrl } from './from-url.ts'
import { type Result, resultsOf, sentenceOf } from './several.ts'

const problemText: ProblemText = { type: TEXT, write: ({ message }) => `${message}\n` }

/** `POST /` as users of 0x0 know it, `PUT /{name}` as those of transfer.sh do, and what both have of the other. Answers are plain text. */
export const plain: Adapter = (parts) => {
  const { app, deps, enter, doors } = parts
  const { config } = deps
  const translate = lifetimes(deps.now)
  const common = [enter(['password']), refuseUnkept, refuseBadOptions(config, translate)]

  const most = mostBytes(config.maxFileSize)
  const ofForm = [...common, refuseTooManyBytes(config.maxFileSize), doors.mayUpload({ most })]
  app.post('/', { onRequest: ofForm, schema: PLAIN.post, config: { problemText } }, (request, reply) =>
    takeForm({ request, reply, translate }, parts),
  )

  const ofBody = [...common, refuseTooLarge(config.maxFileSize), doors.mayUpload()]
  const put = async (request: FastifyRequest, reply: FastifyReply) => {
    // Longer than an image may be, so that it is the image that is found to be too large.
    const body = readRaw(request, 2 * config.maxFileSize)
    const { name } = await takeUpload(
      { request, reply, incoming: { body, fields: new Map() }, translate },
      deps,
    )
    reply.headers(otherHeaders(name, deps.deleteUrlOf(name)))
    return reply.type(TEXT).send(deps.urlOf(name))
  }
  app.put('/', { onRequest: ofBody, schema: PLAIN.put, config: { problemText } }, put)
  const page = config.page === 'off' ? [] : ['GET', 'HEAD']
  refuseOtherMethods(app, '/', [...page, 'POST', 'PUT'], { problemText })
  // The name is the client's, and is looked at by nobody.
  const named = { problemText, shownAs: '/…' }
  app.put('/:name', { onRequest: ofBody, schema: PLAIN.putNamed, config: named }, put)
}

interface FormRequest {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly translate: Translate
}

/** One line a file: its URL, or what is wrong with it. */
async function takeForm({ request, reply, translate }: FormRequest, { deps, doors }: AdapterParts) {
  const incoming = readFiles(request, deps.config.maxFileSize)
  let outcomes = await takeUploads({ request, reply, incoming, translate }, deps)
  if (outcomes.length === 0) {
    const { fields } = incoming
    const url = fields.get('url')
    if (url === undefined) throw fileMissing([...fields.keys()], 'file')
    outcomes = [await takeFromUrl(url, { request, reply, incoming, translate }, { deps, doors })]
  }
  const results = resultsOf(outcomes, { request, reply, deps })
  const [only] = outcomes
  if (outcomes.length === 1 && only !== undefined && !(only instanceof Problem))
    reply.headers(otherHeaders(only.name, deps.deleteUrlOf(only.name)))
  return reply.type(TEXT).send(results.map(lineOf).join(''))
}

function lineOf(result: Result): string {
  return 'url' in result ? `${result.url}\n` : `error: ${sentenceOf(result)}\n`
}

/** What both programs say of one file in their own headers: transfer.sh where to delete it, 0x0 when it ends, in milliseconds. */
function otherHeaders({ expires }: ImageName, deleteUrl: string): Record<string, string> {
  return {
    'x-url-delete': deleteUrl,
    ...(Number.isFinite(expires) && { 'x-expires': String(expires * 1000) }),
  }
}

/** What transfer.sh promises by header and we cannot: whoever asks for it would not want the image to be stored without. */
const UNKEPT = ['Max-Downloads', 'X-Encrypt-Password']

async function refuseUnkept({ headers }: FastifyRequest): Promise<void> {
  const name = UNKEPT.find((header) => headers[header.toLowerCase()] !== undefined)
  if (name !== undefined) throw problem('option_refused', { name })
}

/** As 0x0 tells hours from milliseconds of Unix time: what is less than a moment of 2022 is no time to come. */
const FIRST_TIME = 1_650_460_320_000

/** transfer.sh's header `Max-Days`, and 0x0's field `expires`, of which the header counts. */
function lifetimes(now: () => number): Translate {
  return ({ headers }, fields): AskedLifetime | undefined => {
    const { 'max-days': days } = headers
    if (days !== undefined)
      return { name: 'Max-Days', form: 'a whole number of days', seconds: numberIn(days) * 86_400 }
    const expires = fields.get('expires')
    if (expires === undefined) return undefined
    const number = numberIn(expires)
    const seconds = number < FIRST_TIME ? number * 3600 : (number - now()) / 1000
    return { name: 'expires', form: 'a number of hours, or a time in Unix milliseconds', seconds }
  }
}

function numberIn(text: unknown): number {
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
}
