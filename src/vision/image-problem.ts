import { type ErrorCode, Problem, problem, problemWith } from '../errors.ts'
import { ObjectNotFound } from '../store/store.ts'

/** Characters of a URL that a refusal repeats. */
const LONGEST_URL = 200

/** How a refusal names an image: by where it stands in the request, and by its URL if it has one. */
export function named(place: string, url?: string): string {
  if (url === undefined) return `The image at ${place}`
  const shown = url.length > LONGEST_URL ? `${url.slice(0, LONGEST_URL)}…` : url
  return `The image at ${place} (${shown})`
}

/** What is said of an image, by the code that an upload of it would have been refused with. */
const CAUSES: { readonly [code in ErrorCode]?: 'vision_image_not_an_image' | 'vision_image_invalid' } = {
  format_unsupported: 'vision_image_not_an_image',
  file_empty: 'vision_image_not_an_image',
  url_not_an_image: 'vision_image_not_an_image',
  image_invalid: 'vision_image_invalid',
  image_dimensions: 'vision_image_invalid',
}

/** What went wrong with an image, as the one who sent the request can understand it; what is not about the image stays as it is. */
export function explainImage(cause: unknown, image: string): unknown {
  // Not with its cause, which names the image in the log.
  if (cause instanceof ObjectNotFound) return problem('vision_image_unknown', { image })
  if (cause instanceof SyntaxError)
    return problemWith('vision_image_invalid', { cause }, { image, reason: 'Its text is malformed.' })
  if (!(cause instanceof Problem)) return cause
  const { code, message: reason } = cause
  if (code === 'base64_invalid') return problem('vision_image_invalid', { image, reason: NOT_BASE64 })
  if (code === 'file_too_large') return problemWith('vision_image_too_large', { cause }, { image, reason })
  if (code.startsWith('url_') && code !== 'url_not_an_image')
    return problemWith('vision_image_unreachable', { cause }, { image, reason })
  const known = CAUSES[code]
  return known === undefined ? cause : problemWith(known, { cause }, { image, reason })
}

const NOT_BASE64 =
  'It is not base64: that takes A–Z, a–z, 0–9, "+" and "/", padded with "=" to a multiple of four, without spaces or ' +
  'line breaks, in a data URL behind "data:image/png;base64,".'
