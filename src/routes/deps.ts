import type { Config } from '../config.ts'
import type { StoredHeaders } from '../images/stored-headers.ts'
import type { Network } from '../intake/remote/network.ts'
import type { Keyring } from '../keys.ts'
import type { ImageName } from '../name.ts'
import type { Presign } from '../presign.ts'
import type { Receipts } from '../receipts/collector.ts'
import type { Spool } from '../spool.ts'
import type { Store } from '../store/store.ts'
import type { Usage } from '../usage/usage.ts'
import type { Fitter } from '../vision/fitter.ts'

/** What the routes are given. */
export interface Deps {
  readonly config: Config
  readonly store: Store
  /** What the headers of stored images say. */
  readonly headers: StoredHeaders
  readonly spool: Spool
  readonly keyring: Keyring
  readonly usage: Usage
  /** Who has fetched which image; undefined if that is not noted. */
  readonly receipts: Receipts | undefined
  /** How images are fetched from elsewhere. */
  readonly network: Network
  /** Makes copies that fit. */
  readonly fitter: Fitter
  /** What owner marks are made with. */
  readonly secret: Buffer
  /** Unix milliseconds. */
  readonly now: () => number
  /** Uploads by link; undefined if there are none. */
  readonly presign: Presign | undefined
  /** An image's public URL. Never made from anything in a request. */
  readonly urlOf: (name: ImageName) => string
  /** The same, but always through this server. */
  readonly ownUrlOf: (name: ImageName) => string
  /** A URL that deletes an image, for whoever has it. */
  readonly deleteUrlOf: (name: ImageName) => string
}
