import { type ImageName, makeName } from '../name.ts'
import { chargeFor, type PublishOptions, reserve } from '../publish.ts'
import type { Staged } from '../stage.ts'

/** Images that were made public for a call of a model. One of the two is to be called. */
export interface Hosted {
  /** In the order of the images. */
  readonly names: readonly ImageName[]
  /** The model has been asked: they stay, and count for the quota. */
  keep(): Promise<void>
  /** It has not: nothing of them is left. */
  undo(): Promise<void>
}

/**
 * Makes several images public at once, all or none: as `publish` does with one, but until it is known whether the model could be asked, they
 * only hold their part of the quota. Rejects as `publish` does, and then has left nothing.
 */
export async function hostAll(images: readonly Staged[], options: PublishOptions): Promise<Hosted> {
  const { store, usage, secret, keyId, lifetime, now, signal } = options
  const created = Math.floor(now / 1000)
  const names = images.map(({ format }) =>
    makeName({ created, expires: created + lifetime, format, keyId, secret }),
  )
  const bytes = chargeFor(...images.map(({ size }) => size))
  const reservation = bytes > 0 ? await reserve(bytes, options) : undefined
  const stored: ImageName[] = []

  async function undo(): Promise<void> {
    for (const name of stored) await store.delete(name.text).catch(() => {})
    if (reservation) await usage.release(reservation).catch(() => {})
  }

  try {
    for (const [index, name] of names.entries()) {
      const staged = images[index]
      if (staged) await store.put(name.text, staged, signal ? { signal } : {})
      stored.push(name)
    }
    signal?.throwIfAborted()
  } catch (error) {
    await undo()
    throw error
  }
  return {
    names,
    undo,
    keep: async () => {
      // What was shown to a model cannot be taken back any more. If it cannot be counted, it is held for as long as an upload would be.
      if (reservation) await usage.settle(reservation).catch(() => {})
    },
  }
}
