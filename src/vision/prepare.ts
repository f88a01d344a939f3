import { problem } from '../errors.ts'
import { FORMATS } from '../formats.ts'
import type { PublishOptions } from '../publish.ts'
import type { Deps } from '../routes/deps.ts'
import type { Staged } from '../stage.ts'
import { type FoundImage, findImages, type Shape } from './find-images.ts'
import { type Hosted, hostAll } from './host.ts'
import type { OwnUrls } from './own-url.ts'
import { type Plan, planFor, roomOf } from './plan.ts'
import type { KeptRequest } from './read-request.ts'
import { type Rewritten, rewritten, type Splice } from './rewritten-body.ts'

/** Images in a request. */
const MOST_IMAGES = 250
/** Images of a request that are looked at, or fetched, at once. */
const AT_ONCE = 2

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
  const shared = { body, kept, seen: new Map<string, Promise<Plan>>(), room: roomOf(config.vision.maxBody) }
  const plans = await eachOf(images, async (image) => {
    signal.throwIfAborted()
    return planFor(image, { ...options, ...shared })
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
