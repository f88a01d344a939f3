import { ConfigError } from './config.ts'
import { StoreError } from './store/store.ts'
import { UsageError } from './usage/usage.ts'

/** Whether an error's message says what to do, so that nobody needs to see where it came from. */
export function isExpected(error: unknown): boolean {
  return [ConfigError, StoreError, UsageError].some((kind) => error instanceof kind)
}
