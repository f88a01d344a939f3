import type { Answer } from './exchange.ts'
import { plain, UploadFailed } from './failure.ts'

/** What the API says of an image that is stored. */
export interface Facts {
  readonly url: string
  readonly [member: string]: unknown
}

/** Answers that may be others in a while: too many requests, a server that is busy or starts again, a proxy without it. */
const PASSING = [429, 502, 503, 504]

/** Reads an answer. Throws an `UploadFailed` with the API's own sentence, or one of ours if something else has answered. */
export function factsIn({ status, headers, text }: Answer): Facts {
  const said = objectIn(text)
  if (status >= 300 && status < 400)
    throw new UploadFailed(
      `redirected (${status}) to ${plain(headers.location ?? 'nowhere')}, where the key is not sent: set LAYOVER_URL to the server’s own address`,
      { isForAll: true },
    )
  if (status >= 200 && status < 300) {
    if (isFacts(said)) return said
    throw new UploadFailed(`answered ${status} by something that is no Layover: is LAYOVER_URL right?`, {
      isForAll: true,
    })
  }
  throw new UploadFailed(sentenceIn(said) ?? `answered ${status}, by something else than Layover itself`, {
    isForAll: status === 401,
    retryAfter: PASSING.includes(status) ? secondsIn(headers['retry-after']) : undefined,
  })
}

function objectIn(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}

/** One line of a URL, for whoever reads lines. */
function isFacts(said: Record<string, unknown>): said is Facts {
  return typeof said.url === 'string' && /^https?:\/\/[^\s\p{Cc}]+$/u.test(said.url)
}

function sentenceIn(said: Record<string, unknown>): string | undefined {
  const { message } = Object((said.error as object | undefined) ?? said)
  return typeof message === 'string' && message !== '' ? plain(message) : undefined
}

/** What `Retry-After` asks for: seconds or a date (RFC 9110, section 10.2.3); 0 for nothing of sense. */
function secondsIn(retryAfter = ''): number {
  if (/^\d{1,9}$/.test(retryAfter)) return Number(retryAfter)
  return Math.max(0, Math.ceil((Date.parse(retryAfter) - Date.now()) / 1000) || 0)
}
