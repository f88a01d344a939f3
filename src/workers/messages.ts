import type { Samples } from '../metrics/merge.ts'

/** What a worker tells its primary. */
export type FromWorker =
  /** It serves, at this public address. */
  | { readonly type: 'up'; readonly url: string }
  /** It cannot start, for this reason. */
  | { readonly type: 'failed'; readonly reason: string }
  | { readonly type: 'metrics'; readonly question: number; readonly samples: Samples }

/** What the primary tells a worker. */
export type ToWorker =
  | { readonly type: 'stop' }
  /** Wants its metrics, in a message with the same number. */
  | { readonly type: 'metrics'; readonly question: number }
