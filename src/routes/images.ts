import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { whileClientWaits } from '../connection.ts'
import { problem, problemWith } from '../errors.ts'
import { type ImageName, imagePath, isExpired, parseName } from '../name.ts'
import { noteAtEnd } from '../note-fetch.ts'
import { type ByteRange, type ImageAnswer, type ImageRequest, serve } from '../serve.ts'
import type { Held, Opened } from '../store/store.ts'
import type { Deps } from './deps.ts'
import { IMAGE_SCHEMAS } from './describe-image.ts'
import { refuseOtherMethods } from './other-methods.ts'

/** Headers that can make the answer something else than the whole image. */
const CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'range']

/** `GET` and `HEAD` of an image, for anybody who knows its name. */
export function images(app: FastifyInstance, { config, store, receipts, now }: Deps): void {
  const url = `${config.uploadPath}/:year/:month/:name`

  /** Without waiting for anything where the image is in memory, as even that takes time when there is nothing to wait for. */
  const answer = (request: FastifyRequest, reply: FastifyReply) => {
    const name = nameIn(request.params as ImageParams)
    const time = now()
    refuseExpired(name, time)
    const held = store.atHand?.(name.text)
    if (held === undefined) return answerFromStore(name, request, reply)
    lentUntilSent(held, reply)
    noteAtEnd(receipts, name, request, reply)
    const served = answered(request, { name, size: held.size, now: time })
    send(reply, served, hasBody(request, served) ? partOf(held, served.range) : undefined)
  }

  async function answerFromStore(name: ImageName, request: FastifyRequest, reply: FastifyReply) {
    const { headers, method, raw } = request
    const isPlain = method === 'GET' && !CONDITIONS.some((header) => header in headers)
    let opened: Opened | undefined
    // An unconditional GET, which nearly all are, asks the store once.
    if (isPlain) opened = lentUntilSent(await whileClientWaits(raw, store.open(name.text)), reply)
    const size = opened?.size ?? (await whileClientWaits(raw, store.stat(name.text))).size

    // The store took its time, and the expiry is exact.
    const time = now()
    if (isExpired(name, time) && opened?.bytes === undefined) opened?.body.destroy()
    refuseExpired(name, time)
    noteAtEnd(receipts, name, request, reply)
    const served = answered(request, { name, size, now: time })
    if (hasBody(request, served)) {
      const { range } = served
      opened ??= lentUntilSent(await whileClientWaits(raw, store.open(name.text, { range })), reply)
    }
    return send(reply, served, opened?.bytes ?? opened?.body)
  }

  app.get(url, { schema: IMAGE_SCHEMAS.get, exposeHeadRoute: false }, answer)
  // As a list of methods: a lone HEAD is not in the document, or not by its own name.
  app.route({ method: ['HEAD'], url, schema: IMAGE_SCHEMAS.head, handler: answer })

  refuseOtherMethods(app, url, ['GET', 'HEAD'])
}

type ImageFacts = Pick<ImageRequest, 'name' | 'size' | 'now'>

/** What is to be answered. Throws the refusal if there is one. */
function answered({ method, headers }: FastifyRequest, facts: ImageFacts): ImageAnswer {
  const served = serve({ method, headers, ...facts })
  if (served.status === 412) throw problem('precondition_failed')
  if (served.status === 416)
    throw problemWith('range_not_satisfiable', { headers: served.headers }, { size: facts.size })
  return served
}

function hasBody(
  { method }: FastifyRequest,
  served: ImageAnswer,
): served is ImageAnswer & { range: ByteRange } {
  return method === 'GET' && served.range !== undefined
}

function send(reply: FastifyReply, { status, headers }: ImageAnswer, body: Buffer | Readable | undefined) {
  return reply.code(status).headers(headers).send(body)
}

function partOf({ bytes, size }: Held, { start, end }: ByteRange): Buffer {
  return end - start + 1 === size ? bytes : bytes.subarray(start, end + 1)
}

/** Takes bytes that a store lends, until the answer has left or its client has. */
function lentUntilSent(opened: Opened, { raw }: FastifyReply): Opened {
  const { done } = opened
  // Its client may have left meanwhile, and will not do so again.
  if (raw.closed) done?.(false)
  else if (done) raw.on('close', () => done(raw.writableFinished))
  return opened
}

interface ImageParams {
  year: string
  month: string
  name: string
}

/** The name in a path, if the path is one that was given out. */
function nameIn({ year, month, name: text }: ImageParams): ImageName {
  const name = parseName(text)
  if (name === undefined || imagePath(name) !== `${year}/${month}/${text}`) throw problem('image_not_found')
  return name
}

function refuseExpired(name: ImageName, now: number): void {
  if (isExpired(name, now))
    throw problem('image_expired', { expires: new Date(name.expires * 1000).toISOString() })
}
