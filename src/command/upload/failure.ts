export interface FailureOptions {
  /** Whether the other files would fare the same. */
  readonly isForAll?: boolean
  /** Seconds after which trying again may help; undefined if it cannot. */
  readonly retryAfter?: number | undefined
}

/** A file was not uploaded; `message` says why to whoever gave it, without its name. */
export class UploadFailed extends Error {
  override name = 'UploadFailed'
  readonly isForAll: boolean
  readonly retryAfter: number | undefined

  constructor(message: string, { isForAll = false, retryAfter }: FailureOptions = {}) {
    super(message)
    this.isForAll = isForAll
    this.retryAfter = retryAfter
  }
}

/** Seconds that a server may ask to wait; who asks for more has no use for another try now. */
const LONGEST_WAIT = 60

/** Seconds to wait after `tried` tries and one more; undefined if the server asks for too many. */
export function waitBefore({ tried, retryAfter }: { tried: number; retryAfter: number }): number | undefined {
  if (retryAfter > LONGEST_WAIT) return undefined
  return Math.max(retryAfter, Math.min(2 ** tried, LONGEST_WAIT))
}

/** Text from elsewhere, as a terminal may show it: nothing in it can move the cursor, or look like a line of ours. */
export function plain(text: string): string {
  return text.replaceAll(/\p{Cc}|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd')
}
