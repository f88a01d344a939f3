import { type ImageName, makeName } from './name.ts'
import type { Staged } from './stage.ts'
import type { Store } from './store/store.ts'

export interface PublishOptions {
  readonly store: Store
  readonly secret: Buffer
  /** Id of the key that uploads. */
  readonly keyId: string
  /** Seconds from now to expiry; `Infinity` for never. */
  readonly lifetime: number
  /** Unix milliseconds. */
  readonly now: number
  readonly signal?: AbortSignal
}

/**
 * Makes a staged image public: the only place where one gets its name and enters the store.
 *
 * When it resolves, the image is durable and can be read under the name. Rejects with the store's error, or the signal's
 * reason, and then has left nothing.
 */
export async function publish(staged: Staged, options: PublishOptions): Promise<ImageName> {
  const { store, secret, keyId, lifetime, now, signal } = options
  const created = Math.floor(now / 1000)
  const name = makeName({ created, expires: created + lifetime, format: staged.format, keyId, secret })
  await store.put(name.text, staged, signal ? { signal } : {})
  return name
}
