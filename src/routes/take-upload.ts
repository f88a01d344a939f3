import type { FastifyReply, FastifyRequest } from 'fastify'
import { holdPlace } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import type { Header } from '../formats.ts'
import { readCopy } from '../intake/copy.ts'
import type { Incoming } from '../intake/incoming.ts'
import { readOptions, type Translate } from '../intake/options.ts'
import { keyOf } from '../keys.ts'
import { quotaOf } from '../limits.ts'
import { type ImageName, imageId } from '../name.ts'
import { publish } from '../publish.ts'
import { type Staged, stage } from '../stage.ts'
import type { Deps } from './deps.ts'

/** An image that has been stored. */
export interface Uploaded {
  readonly name: ImageName
  /** Bytes. */
  readonly size: number
  readonly header: Header
  /** The copy that was asked for, or the image itself where it is as wanted; undefined if none was asked for. */
  readonly fitted?: Uploaded | undefined
}

export interface Upload {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly incoming: Incoming
  /** Another way to ask for a lifetime. */
  readonly translate?: Translate | undefined
  /** Aborted when the client leaves, if somebody looks for that already. */
  readonly signal?: AbortSignal
  /** Whether a copy can be asked for. */
  readonly mayCopy?: boolean
}

/**
 * Stages what came in and makes it public, with a copy if one is asked for, whichever way it came. Sets the headers that every such answer
 * has.
 */
export async function takeUpload(
  { request, reply, incoming, translate, mayCopy = false, signal = clientGone(reply) }: Upload,
  { config, store, spool, usage, secret, now, deleteUrlOf, fitter, headers }: Deps,
): Promise<Uploaded> {
  using _place = holdPlace(request)
  const { maxFileSize, maxPixels } = config
  await using staged = await stage(incoming.body, { spool, digest: store.digest, maxFileSize, maxPixels })
  request.taken = staged.size
  const { lifetime } = readOptions(request, incoming.fields, config, translate)
  const key = keyOf(request)
  const wanted = mayCopy ? readCopy(request, incoming.fields) : undefined
  await using copy =
    wanted && (await whileClientWaits(request.raw, fitter.make(staged, wanted, { keyId: key.id, signal })))
  const images = copy ? [staged, copy] : [staged]
  const quota = quotaOf(key, config)
  const published = publish(images, {
    ...{ store, usage, secret, keyId: key.id, lifetime, signal },
    // The first waits until the last is stored.
    quota: { ...quota, hold: quota.hold * images.length },
    now: now(),
  })
  const [name, nameOfCopy] = (await whileClientWaits(request.raw, published)) as [ImageName, ImageName?]
  reply.headers(uploadHeaders(name, deleteUrlOf))
  headers.remember(name, staged.header)
  if (copy && nameOfCopy) headers.remember(nameOfCopy, copy.header)
  const image = storedAs(name, staged)
  const fitted = copy && nameOfCopy ? storedAs(nameOfCopy, copy) : image
  return wanted ? { ...image, fitted } : image
}

function storedAs(name: ImageName, { size, header }: Staged): Uploaded {
  return { name, size, header }
}

/** What the answer to an upload of one image says in its headers. */
export function uploadHeaders(name: ImageName, deleteUrlOf: Deps['deleteUrlOf']): Record<string, string> {
  return {
    'x-layover-id': imageId(name),
    'x-layover-expires-at': Number.isFinite(name.expires)
      ? new Date(name.expires * 1000).toISOString()
      : 'never',
    'x-layover-delete-url': deleteUrlOf(name),
  }
}

/** Aborted when the client leaves before its answer: nobody would ever know an image's name, or read a list. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(problem('upload_incomplete'))
  })
  return gone.signal
}
