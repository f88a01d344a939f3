import type { Config } from '../config.ts'
import type { Keyring } from '../keys.ts'

export interface KeyShareOptions {
  readonly config: Pick<Config, 'maxKeyShare'>
  readonly keyring: Pick<Keyring, 'isShared'>
}

/**
 * How many of `slots` one key may hold (`MAX_KEY_SHARE`): rounded up, so at least 1, and any number
 * where there is no limit. A key that is the only one has all of them, as nobody else can ask.
 */
export function keyShare(slots: number, { config, keyring }: KeyShareOptions): number {
  if (slots === 0) return Infinity
  return keyring.isShared() ? Math.ceil((slots * config.maxKeyShare) / 100) : slots
}
