import { StorageFull, StoreError } from '../store.ts'

/** What can be known of a failed call: the server's status and code, or the network's code. */
export interface Failure {
  /** HTTP status; undefined if no answer came, or none that could be read. */
  readonly status: number | undefined
  /** As the server or Node names it, like `NoSuchKey` or `ECONNREFUSED`. */
  readonly code: string
}

/** Codes of a connection that was never made: nothing has been sent. */
const NEVER_CONNECTED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'])
/** Refusals that are about the moment, or about the way there, not about the call. */
const PASSING = new Set([
  'SlowDown',
  'RequestTimeout',
  'BadDigest',
  'IncompleteBody',
  'OperationAborted',
  'ConditionalRequestConflict',
])
const FULL = new Set(['QuotaExceeded', 'XMinioStorageFull', 'XMinioAdminBucketQuotaExceeded'])

export function failureOf(error: unknown): Failure {
  const { name, code, Code, $metadata } = error as {
    name: string
    code?: string
    Code?: string
    $metadata?: { httpStatusCode?: number }
  }
  return { status: $metadata?.httpStatusCode, code: Code ?? code ?? name }
}

/** Whether the same call may succeed a moment later. */
export function isPassing(error: unknown): boolean {
  if (error instanceof StoreError) return error instanceof WrongBytes
  const { status, code } = failureOf(error)
  if (isFull({ status, code })) return false
  if (status === 501) return false
  return status === undefined || status >= 500 || status === 429 || PASSING.has(code)
}

/** Whether the server may have carried out the call all the same. */
export function mayHaveHappened(error: unknown): boolean {
  const { status, code } = failureOf(error)
  return !NEVER_CONNECTED.has(code) && (status === undefined || status < 400 || status >= 500)
}

/** The server has stored something else than what was sent. */
export class WrongBytes extends StoreError {
  override name = 'WrongBytes'
}

/** A failed call as the store's own error. */
export function s3Failure(error: unknown, message: string): StoreError {
  if (error instanceof StoreError) return error
  const { status, code } = failureOf(error)
  const Kind = isFull({ status, code }) ? StorageFull : StoreError
  return new Kind(`${message} (${status === undefined ? code : `${code}, ${status}`})`, { cause: error })
}

function isFull({ status, code }: Failure): boolean {
  return status === 507 || FULL.has(code)
}
