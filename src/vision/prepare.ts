import { problem } from '../errors.ts'
import { FORMATS, type Format } from '../formats.ts'
import { Base64Decoder } from '../intake/base64-decoder.ts'
import { openRemote } from '../intake/remote.ts'
import { isExpired } from '../name.ts'
import type { PublishOptions } from '../publish.ts'
import type { Deps } from '../routes/deps.ts'
import { inspect, type Staged, stage } from '../stage.ts'
import { type FoundImage, findImages, type Shape } from './find-images.ts'
import { type Hosted, hostAll } from './host.ts'
import { explainImage, named } from './image-problem.ts'
import { unescaped } from './json-string.ts'
import { type OwnUrls, ownImageAt } from './own-url.ts'
import type { KeptBody, KeptRequest } from './read-request.ts'
import { type Inlined, type Rewritten, rewritten, type Splice } from './rewritten-body.ts'

/** Images in a request. */
const MOST_IMAGES = 250
/** Images of a request that are looked at, or fetched, at once. */
const AT_ONCE = 2
/** Bytes of the longest URL in a request. */
const LONGEST_URL = 8192

export interface PrepareOptions extends Deps, OwnUrls {
  readonly config: Deps['config']
  /** Whose the images are that are hosted for the call, and how long they live. */
  readonly owner: Pick<PublishOptions, 'keyId' | 'quota' | 'lifetime'>
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal
}

/** A request whose images the model's server can have. Disposing of it removes what was kept of them on the way. */
export interface Prepared extends AsyncDisposable, Omit<Hosted, 'names'> {
  readonly body: Rewritten
}

/** What is to be done about an image: nothing, to send it along, or to host it and send its URL. */
type Plan = { readonly inline: Inlined; readonly format: Format } | { readonly host: Staged } | undefined

/**
 * Sees to it that the model's server can have each image of a request, by the policy that VISION_IMAGES is. Rejects with a `Problem` that names
 * the image of which that is not so, or with what failed, and then has left nothing.
 */
export async function prepare(
  { body, outline }: KeptRequest,
  shape: Shape,
  options: PrepareOptions,
): Promise<Prepared> {
  const { config, signal } = options
  const images = findImages(shape, outline)
  if (images.length > MOST_IMAGES) throw problem('vision_too_many_images', { limit: MOST_IMAGES })
  await using kept = new AsyncDisposableStack()
  const seen = new Map<string, Promise<Plan>>()
  const plans = await eachOf(images, async (image) => {
    signal.throwIfAborted()
    return planFor(image, { ...options, body, kept, seen })
  })
  const toHost = [...new Set(plans.flatMap((plan) => (plan && 'host' in plan ? [plan.host] : [])))]
  const hosted = await hostAll(toHost, { ...options, ...options.owner, now: options.now() })
  const urls = new Map(toHost.map((staged, index) => [staged, urlAt(hosted, index, options)]))
  const splices = images.flatMap((image, index) => spliceOf(image, plans[index], urls) ?? [])
  const whole = rewritten(body, splices)
  if (whole.size > config.vision.maxBody) {
    await hosted.undo()
    throw problem('vision_body_too_large', { limit: config.vision.maxBody })
  }
  const rest = kept.move()
  return { ...hosted, body: whole, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

function urlAt({ names }: Hosted, index: number, { urlOf }: PrepareOptions): string {
  const name = names[index]
  if (name === undefined) throw new Error('an image was hosted without a name')
  return urlOf(name)
}

interface Planning extends PrepareOptions {
  readonly body: KeptBody
  readonly kept: AsyncDisposableStack
  /** What has been found out of URLs, as a conversation may name one several times. */
  readonly seen: Map<string, Promise<Plan>>
}

async function planFor(image: FoundImage, planning: Planning): Promise<Plan> {
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
  const { config, store, spool, kept, signal, now } = planning
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw problem('url_invalid', { reason: 'it is no whole address that begins with https://' })
  const own = ownImageAt(url, planning)
  if (own === 'unknown') throw problem('vision_image_unknown', { image })
  const isInline = config.vision.images === 'inline'
  if (own) {
    if (isExpired(own, now()))
      throw problem('vision_image_expired', { image, expires: new Date(own.expires * 1000).toISOString() })
    const { size } = await store.stat(own.text)
    const open = () =>
      store.open(own.text, { signal }).then(
        ({ body }) => body,
        // It may have been deleted while those before it were sent.
        (error) => Promise.reject(explainImage(error, image)),
      )
    return isInline ? { format: own.format, inline: { size, open } } : undefined
  }
  if (!config.vision.rehost) return undefined
  const body = await openRemote(text, planning)
  const staged = kept.use(await stage(body, { ...config, spool, digest: store.digest }))
  return isInline
    ? { format: staged.format, inline: { size: staged.size, open: async () => staged.open() } }
    : { host: staged }
}

/** What stands in the request instead of an image as it came. */
function spliceOf(
  { text, source }: FoundImage,
  plan: Plan,
  urls: ReadonlyMap<Staged, string>,
): Splice | undefined {
  if (plan === undefined) return undefined
  if ('host' in plan) {
    const url = JSON.stringify(urls.get(plan.host))
    return source ? { span: source, pieces: [`{"type":"url","url":${url}}`] } : { span: text, pieces: [url] }
  }
  const { mediaType } = FORMATS[plan.format]
  return source
    ? {
        span: source,
        pieces: [`{"type":"base64","media_type":"${mediaType}","data":"`, plan.inline, '"}'],
      }
    : { span: text, pieces: [`"data:${mediaType};base64,`, plan.inline, '"'] }
}

/** Does the work on each item, on a few at once. Waits for all that has begun before it rejects with the first failure. */
async function eachOf<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const failures: unknown[] = []
  const entries = items.entries()
  const workers = Array.from({ length: AT_ONCE }, async () => {
    for (const [index, item] of entries) {
      if (failures.length > 0) return
      await work(item).then(
        (result) => {
          results[index] = result
        },
        (error) => failures.push(error),
      )
    }
  })
  await Promise.all(workers)
  if (failures.length > 0) throw failures[0]
  return results
}
