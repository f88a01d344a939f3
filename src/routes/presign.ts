import type {
  FastifyInstance,
  FastifyRequest,
  onRequestAsyncHookHandler,
  onRequestHookHandler,
} from 'fastify'
import { type Admission, holdPlace } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import { FORMATS, type Format } from '../formats.ts'
import { readCopy, refuseBadCopy } from '../intake/copy.ts'
import { type Members, optionsAmong, readJson } from '../intake/json-body.ts'
import { readOptions, refuseBadOptions } from '../intake/options.ts'
import { readRaw } from '../intake/raw.ts'
import { keyOf } from '../keys.ts'
import { quotaOf } from '../limits.ts'
import { imageId, isExpired, parseName } from '../name.ts'
import type { Arrival } from '../presign/arrivals.ts'
import type { Order, Presign } from '../presign.ts'
import { stage } from '../stage.ts'
import type { Deps } from './deps.ts'
import { PRESIGN_EXAMPLE, PRESIGN_SCHEMAS } from './describe-presign.ts'
import { allFactsOf, expiryOf } from './facts.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { look, ownImage } from './own-image.ts'

const PRESIGN = '/v1/files/uploads/presign'
const COMPLETE = '/v1/files/uploads/:id/complete'
const INCOMING = '/incoming/:name'

/** Uploads by link: `POST …/presign` gives one out, a PUT to it sends the image, `POST …/{id}/complete` asks whether it is there. */
export function presigned(
  app: FastifyInstance,
  deps: Deps,
  mayEnter: onRequestAsyncHookHandler,
  doors: Admission,
): void {
  const { config, presign, now } = deps

  const order = {
    onRequest: [mayEnter, refuseBadOptions(config), refuseBadCopy(deps.fitter)],
    schema: PRESIGN_SCHEMAS.presign,
  }
  app.post(PRESIGN, order, async (request) => {
    if (presign === undefined) throw problem('presign_off')
    const wanted = await readOrder(request, config)
    const { name, uploadUrl, deadline } = await presign.announce(wanted)
    const { mediaType } = FORMATS[name.format]
    return {
      id: imageId(name),
      upload_url: uploadUrl,
      url: deps.ownUrlOf(name),
      method: 'PUT',
      headers: { 'Content-Type': mediaType, 'Content-Length': String(wanted.size) },
      mime_type: mediaType,
      size: wanted.size,
      expires_at: expiryOf(name),
      upload_expires_at: new Date(deadline * 1000).toISOString(),
    }
  })

  app.post(COMPLETE, { onRequest: mayEnter, schema: PRESIGN_SCHEMAS.complete }, async (request, reply) => {
    const name = ownImage(request, deps.secret)
    if (isExpired(name, now())) throw problem('image_expired', { expires: expiryOf(name) })
    // It may still have to be looked for where it was sent to.
    await whileClientWaits(request.raw, presign?.complete(name))
    return allFactsOf(name, await look(name, { request, reply }, deps), deps)
  })

  const keyId = (request: FastifyRequest) => uploadIn(request, presign).ticket.keyId
  const mayPut = [refuseOtherUploads(deps), doors.mayUpload({ keyId })]
  const taken = { onRequest: mayPut, schema: PRESIGN_SCHEMAS.put }
  app.put(INCOMING, taken, async (request, reply) => {
    using _place = holdPlace(request)
    const { name } = await take(request, deps)
    return reply.headers({ 'cache-control': 'no-store', 'x-layover-id': imageId(name) }).send('')
  })

  refuseOtherMethods(app, PRESIGN, ['POST'])
  refuseOtherMethods(app, COMPLETE, ['POST'])
  refuseOtherMethods(app, INCOMING, ['PUT'])
}

/** What a client asks a link for. Rejects with a `Problem` if it is nothing that we take. */
async function readOrder(request: FastifyRequest, config: Deps['config']): Promise<Order> {
  const members = await readJson(request, PRESIGN_EXAMPLE)
  const options = optionsAmong(members)
  const { lifetime } = readOptions(request, options, config)
  if (readCopy(request, options))
    throw problem('fit_unavailable', { reason: 'a link takes an image as it is' })
  const key = keyOf(request)
  const [format, size] = [formatIn(members), sizeIn(members, config.maxFileSize)]
  return { keyId: key.id, quota: quotaOf(key, config), format, size, lifetime }
}

/** Takes in what is sent to a link to ourselves. */
async function take(request: FastifyRequest, { config, presign, spool, store }: Deps): Promise<Arrival> {
  const { raw } = request
  const arrival = uploadIn(request, presign)
  const { size } = arrival.ticket
  await whileClientWaits(raw, presign?.refuseUsed(arrival.name))
  await using staged = await stage(readRaw(request, size), { spool, digest: store.digest, ...config })
  // Whether or not the client waits for the answer: it knows where to find the image.
  await whileClientWaits(raw, presign?.land(staged, arrival))
  request.taken = size
  return arrival
}

/** What a path and its query say that a link of ours says. Throws a `Problem` if it is none. */
function uploadIn({ params, query }: FastifyRequest, presign: Presign | undefined): Arrival {
  const name = parseName((params as { name: string }).name)
  const { ticket: text } = query as { ticket?: unknown }
  const ticket = name && typeof text === 'string' ? presign?.ticketOf(name, text) : undefined
  if (name === undefined || ticket === undefined) throw problem('upload_link_wrong')
  return { name, ticket }
}

/** An `onRequest` hook that refuses, before it is read, what a link was not made for. */
function refuseOtherUploads({ presign, now }: Deps): onRequestHookHandler {
  return (request, _reply, done) => {
    const { name, ticket } = uploadIn(request, presign)
    if (now() >= ticket.deadline * 1000) throw problem('upload_link_expired')
    const type = FORMATS[name.format].mediaType
    const { 'content-length': length, 'content-type': given } = request.headers
    // What other servers compare is the text of the header.
    if (length !== String(ticket.size) || given !== type)
      throw problem('upload_mismatch', { size: ticket.size, type })
    done()
  }
}

function formatIn({ content_type: given }: Members): Format {
  const formats = Object.keys(FORMATS) as Format[]
  const type = given === 'image/jpg' ? 'image/jpeg' : given
  const format = formats.find((format) => FORMATS[format].mediaType === type)
  const wanted = `one of ${formats.map((format) => FORMATS[format].mediaType).join(', ')}`
  if (format === undefined) throw problem('member_invalid', { member: 'content_type', wanted })
  return format
}

function sizeIn({ size }: Members, limit: number): number {
  const isSize = typeof size === 'number' && Number.isSafeInteger(size) && size > 0
  if (!isSize)
    throw problem('member_invalid', { member: 'size', wanted: 'the exact number of bytes, above 0' })
  if (size > limit) throw problem('file_too_large', { limit })
  return size
}
