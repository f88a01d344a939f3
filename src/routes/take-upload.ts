import type { FastifyReply, FastifyRequest } from 'fastify'
import { holdPlace } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import type { Header } from '../formats.ts'
import type { Incoming } from '../intake/incoming.ts'
import { readOptions } from '../intake/options.ts'
import { keyOf } from '../keys.ts'
import { quotaOf } from '../limits.ts'
import { type ImageName, imageId } from '../name.ts'
import { publishTogether } from '../publish.ts'
import { type Staged, stage } from '../stage.ts'
import type { Deps } from './deps.ts'

/** An image that has been stored. */
export interface Stored {
  readonly name: ImageName
  /** Bytes. */
  readonly size: number
  readonly header: Header
}

export interface Uploaded extends Stored {
  /** The copy that was asked for, or the image itself where it is as wanted; undefined if none was asked for. */
  readonly fitted: Stored | undefined
}

/** Stages what came in and makes it public, with a copy if one is asked for, whichever way it came. Sets the headers that every such answer has. */
export async function takeUpload(
  { request, reply, incoming }: { request: FastifyRequest; reply: FastifyReply; incoming: Incoming },
  { config, store, spool, usage, secret, now, deleteUrlOf, fitter }: Deps,
): Promise<Uploaded> {
  using _place = holdPlace(request)
  const signal = clientGone(reply)
  const { maxFileSize, maxPixels } = config
  await using staged = await stage(incoming.body, { spool, digest: store.digest, maxFileSize, maxPixels })
  request.taken = staged.size
  const { lifetime, copy: wanted } = readOptions(request, incoming.fields, config)
  const key = keyOf(request)
  await using copy =
    wanted && (await whileClientWaits(request.raw, fitter.make(staged, wanted, { keyId: key.id, signal })))
  const published = publishTogether(copy ? [staged, copy] : [staged], {
    ...{ store, usage, secret, keyId: key.id, lifetime, signal },
    quota: quotaOf(key, config),
    now: now(),
  })
  const [name, nameOfCopy] = (await whileClientWaits(request.raw, published)) as [ImageName, ImageName?]
  reply.headers({
    'x-layover-id': imageId(name),
    'x-layover-expires-at': Number.isFinite(name.expires)
      ? new Date(name.expires * 1000).toISOString()
      : 'never',
    'x-layover-delete-url': deleteUrlOf(name),
  })
  const image = storedAs(name, staged)
  const fitted = copy && nameOfCopy ? storedAs(nameOfCopy, copy) : image
  return { ...image, fitted: wanted && fitted }
}

function storedAs(name: ImageName, { size, header }: Staged): Stored {
  return { name, size, header }
}

/** Aborted when the client leaves before its answer: nobody would ever know an image's name, or read a list. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(problem('upload_incomplete'))
  })
  return gone.signal
}
