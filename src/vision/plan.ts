import { problem } from '../errors.ts'
import type { Format } from '../formats.ts'
import { Base64Decoder } from '../intake/base64-decoder.ts'
import { openRemote } from '../intake/remote.ts'
import { type ImageName, isExpired } from '../name.ts'
import type { Deps } from '../routes/deps.ts'
import { inspect, type Staged, stage } from '../stage.ts'
import { encodedSize } from './base64-encoder.ts'
import type { FoundImage } from './find-images.ts'
import { explainImage, named } from './image-problem.ts'
import { unescaped } from './json-string.ts'
import { type OwnUrls, ownImageAt } from './own-url.ts'
import type { KeptBody } from './read-request.ts'
import type { Inlined } from './rewritten-body.ts'

/** Bytes of the longest URL in a request. */
const LONGEST_URL = 8192

/** What is to be done about an image: nothing, to send it along, or to host it and send its URL. */
export type Plan =
  | { readonly inline: Inlined; readonly format: Format }
  | { readonly host: Staged }
  | undefined

export interface Planning extends Deps, OwnUrls {
  readonly config: Deps['config']
  readonly body: KeptBody
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal
  /** Where what is kept of images on the way is disposed of. */
  readonly kept: AsyncDisposableStack
  /** What has been found out of URLs, as a conversation may name one several times. */
  readonly seen: Map<string, Promise<Plan>>
  /** For what is to be sent along. */
  readonly room: Room
}

/** Takes the size of each image that is to be sent along. Throws a `Problem` once they are more than a body may have. */
export type Room = (size: number) => void

/** Room for so many bytes of base64: else all images would be fetched, and kept, before it turns out that they are too much. */
export function roomOf(limit: number): Room {
  let taken = 0
  return (size) => {
    taken += encodedSize(size)
    if (taken > limit) throw problem('vision_body_too_large', { limit })
  }
}

/** Finds out what is to be done about an image. Rejects with a `Problem` that names it, or with what failed. */
export async function planFor(image: FoundImage, planning: Planning): Promise<Plan> {
  const { body, seen } = planning
  const { start, end } = image.text
  let name = named(image.place)
  try {
    const beginning = await textOf(body, start + 1, Math.min(end - 1, start + 1 + LONGEST_URL))
    if (image.isBase64 || /^data:/i.test(beginning)) return await planForData(image, planning)
    name = named(image.place, beginning)
    if (end - start > LONGEST_URL) throw problem('url_invalid', { reason: 'it is too long' })
    const before = seen.get(beginning)
    if (before) return await before
    const plan = planForUrl(beginning, name, planning)
    seen.set(beginning, plan)
    return await plan
  } catch (error) {
    throw explainImage(error, name)
  }
}

/** The beginning of a string. What is cut off in the middle of a character or an escape is left out. */
async function textOf(body: KeptBody, start: number, end: number): Promise<string> {
  let text = ''
  try {
    for await (const piece of unescaped(body.read({ start, end }))) text += piece
  } catch (error) {
    if (!(error instanceof SyntaxError) || text === '') throw error
  }
  return text
}

/** An image within the request: checked and left where it is, or hosted. */
async function planForData(
  { text }: FoundImage,
  { config, body, store, spool, kept }: Planning,
): Promise<Plan> {
  const bytes = decoded(unescaped(body.read({ start: text.start + 1, end: text.end - 1 })))
  if (config.vision.images === 'inline') {
    await inspect(bytes, config)
    return undefined
  }
  return { host: kept.use(await stage(bytes, { ...config, spool, digest: store.digest })) }
}

async function* decoded(pieces: AsyncIterable<string>): AsyncGenerator<Buffer> {
  const decoder = new Base64Decoder()
  for await (const piece of pieces) {
    decoder.push(piece)
    const bytes = decoder.take()
    if (bytes.length > 0) yield bytes
  }
  yield decoder.end()
}

async function planForUrl(text: string, image: string, planning: Planning): Promise<Plan> {
  const { config, store, spool, kept, room, seen, urlOf } = planning
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw problem('url_invalid', { reason: 'it is no whole address that begins with https://' })
  const own = ownImageAt(url, planning)
  if (own === 'unknown') throw problem('vision_image_unknown', { image })
  if (own) {
    // Once, however its URL is spelled: each look-up may be a call to a bucket.
    const plan = seen.get(urlOf(own)) ?? planForOwn(own, image, planning)
    seen.set(urlOf(own), plan)
    return plan
  }
  if (!config.vision.rehost) return undefined
  const body = await openRemote(text, planning)
  const staged = kept.use(await stage(body, { ...config, spool, digest: store.digest }))
  if (config.vision.images === 'url') return { host: staged }
  room(staged.size)
  return { format: staged.format, inline: { size: staged.size, open: async () => staged.open() } }
}

/** An image that is stored here: sent along, or left where it is. */
async function planForOwn(own: ImageName, image: string, planning: Planning): Promise<Plan> {
  const { config, store, signal, now, room } = planning
  const refuseExpired = () => {
    if (isExpired(own, now()))
      throw problem('vision_image_expired', { image, expires: new Date(own.expires * 1000).toISOString() })
  }
  refuseExpired()
  const { size } = await store.stat(own.text)
  if (config.vision.images === 'url') return undefined
  room(size)
  async function open() {
    // It may have expired, or been deleted, while those before it were sent.
    refuseExpired()
    try {
      return (await store.open(own.text, { signal })).body
    } catch (error) {
      throw explainImage(error, image)
    }
  }
  return { format: own.format, inline: { size, open } }
}
