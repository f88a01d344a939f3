import { Problem, problem, problemWith } from './errors.ts'
import { ObjectNotFound, StorageFull, StoreError } from './store/store.ts'

/** What a failure inside means for a client: the one place where that is decided. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof ObjectNotFound) return problem('image_not_found')
  if (error instanceof StorageFull) return problemWith('storage_full', { cause: error })
  if (error instanceof StoreError) return problemWith('store_unavailable', { cause: error })
  // The framework's own refusals, of headers and paths that make no sense.
  const { statusCode } = error as { statusCode?: number }
  if (statusCode !== undefined && statusCode < 500) return problemWith('request_malformed', { cause: error })
  return problemWith('internal', { cause: error })
}
