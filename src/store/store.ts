import { constants } from 'node:os'
import type { Readable } from 'node:stream'

/**
 * Where images are kept: bytes under names, and nothing else.
 *
 * A store knows nothing of HTTP, of keys or of expiry. Its keys are image names made by `name.ts`, so that their order is the
 * order in which they expire. `test/store/contract.ts` is this contract as tests, and every store passes it.
 *
 * Promised by every store:
 *
 * - An object is visible only when it is whole and durable, and never changes afterwards.
 * - A failed or aborted `put` leaves nothing: no object and no temp file.
 * - "Not found" is `ObjectNotFound`; "no space" is `StorageFull`; any other failure is a `StoreError` with its cause.
 *
 * Not promised: that a body being read survives a `delete` (it does on local disk), that `list` sees what is put or deleted
 * while it runs, and that two `put`s of one key at the same moment are told apart where an S3 server knows no conditions: the later
 * one may replace the other. All names but those of uploads by link are random, so it happens with no others.
 */
export interface Store {
  /** The digest that `put` wants of the bytes, if it has a use for one. */
  readonly digest?: 'md5'

  /** Stores an object. Rejects with `ObjectExists` rather than replace one, and with the signal's reason if aborted. */
  put(key: string, staged: StagedBytes, options?: PutOptions): Promise<void>

  /** Size in bytes. */
  stat(key: string): Promise<{ size: number }>

  /**
   * Opens an object, or the bytes of it from `start` to `end`, both included. The body is really open when this resolves; the
   * caller reads it to its end or destroys it; it fails with a `StoreError`. `size` is the whole object's. The caller has checked the range against it.
   */
  open(key: string, options?: OpenOptions): Promise<Opened>

  /** A whole object, without a moment's waiting, if it is held in memory. Otherwise `open` is to be asked, also for what is not there. */
  readonly atHand?: (key: string) => Held | undefined

  /**
   * A mark of the object that stands under a key at this moment, undefined if there is none. Once that has been deleted, by whatever process,
   * the key has no mark any more, or another one. Synchronous, as it is looked at again and again: only where that takes some microseconds.
   */
  readonly mark?: (key: string) => string | undefined

  /** Removes an object; resolves if there is none. */
  delete(key: string): Promise<void>

  /** Removes up to a thousand objects, where that is cheaper than one by one. Answers with those that it could not remove. */
  deleteMany?(keys: readonly string[]): Promise<DeleteFailure[]>

  /**
   * Every key below `before` (or every key) that starts with `startingWith`, ascending, with its size in bytes; in any order, but all of them, where the
   * server behind the store knows none. A page that fails is thrown, never taken for the end. What is not an object of ours
   * is never listed.
   */
  list(options?: ListOptions): AsyncGenerator<{ key: string; size: number }>

  /** Cheap proof that the store can be used, for readiness. Rejects with the reason if not. */
  check(): Promise<void>

  /** Frees sockets and handles; idempotent. */
  close(): Promise<void>
}

export interface OpenOptions {
  readonly range?: { readonly start: number; readonly end: number }
  readonly signal?: AbortSignal
}

/** An object, or a part of it, that is open: its caller takes either `body` or `bytes`. */
export interface Opened {
  /** Of the whole object, in bytes. */
  readonly size: number
  /** A reader's own copy; a getter may make it, so it is to be asked for once. */
  readonly body: Readable
  /** What `body` would give, where it is in memory at once. Not to be changed, and lent until `done` is called. */
  readonly bytes?: Buffer
  /** To be called by who took `bytes`. `isRead` says whether nothing looks at them any more, as a write under way might. */
  readonly done?: (isRead: boolean) => void
}

/** What is held in memory anyway. */
export type Held = Opened & Required<Pick<Opened, 'bytes' | 'done'>>

export interface PutOptions {
  readonly signal?: AbortSignal
  /**
   * Leaves it there, whole, if a failed `put` has stored it after all. For keys that others may `put` at the same time or later, which would
   * see theirs taken away.
   */
  readonly keep?: boolean
}

export interface ListOptions {
  readonly before?: string
  readonly startingWith?: string
  /** The other way round, where that costs the store nothing; else as it comes. */
  readonly latestFirst?: boolean
  /** Only keys for which this says so. Asked before anything else is: a size costs a call on some stores. What it throws ends the list. */
  readonly wanted?: (key: string) => boolean
}

/**
 * Where bytes arrive that nobody has checked, and where it is noted which names take none any more. Nothing of it is ever served.
 */
export interface IncomingArea {
  readonly store: Store
  /** Signs a link to which an object can be sent without us; where there is a store that takes one and holds to what the link says. */
  readonly sign?: ((upload: SignedUpload) => Promise<string>) | undefined
}

/** What a link takes: this, once or more often, and nothing else. */
export interface SignedUpload {
  readonly key: string
  readonly contentType: string
  /** Bytes. */
  readonly size: number
  /** Seconds from now. */
  readonly seconds: number
}

/** The bytes that a `put` is given: whole and unchanging until it ends, readable any number of times. */
export interface StagedBytes {
  readonly size: number
  /** The bytes themselves, where they are few enough to be kept in memory. */
  readonly bytes?: Buffer | undefined
  /** In base64, where the store wants it. */
  readonly md5?: string | undefined
  /**
   * A file that holds them, where they are not. A store may give it a second name, or a new one, but never changes it. `sync` brings it onto
   * the disk, and resolves with its size in bytes.
   */
  readonly file?: { readonly path: string; sync(): Promise<number> } | undefined
  /** Reads them from the start. */
  open(): Readable
}

export interface DeleteFailure {
  readonly key: string
  readonly error: Error
}

const KEY = /^[0-9a-z]{13,}\.[a-z]+$/

/** Whether a name can be that of an object: in a folder or a bucket, all else is somebody else's. */
export function isKey(name: string): boolean {
  return KEY.test(name)
}

/** A store failed; `cause` says how. */
export class StoreError extends Error {
  override name = 'StoreError'
}

export class ObjectNotFound extends StoreError {
  override name = 'ObjectNotFound'
}

export class ObjectExists extends StoreError {
  override name = 'ObjectExists'
}

/** There is no space, or less than is to be kept free. */
export class StorageFull extends StoreError {
  override name = 'StorageFull'
}

/** By number: Node has no name for what a user's quota on the disk answers. */
const FULL = new Set([constants.errno.ENOSPC, constants.errno.EDQUOT])

/** A failure of the file system as a store's: what already is one stays as it is. */
export function storeFailure(error: unknown, message: string): Error {
  if (error instanceof StoreError) return error
  const { code, errno = 0 } = error as NodeJS.ErrnoException
  const Kind = FULL.has(-errno) ? StorageFull : StoreError
  return new Kind(code === undefined ? message : `${message} (${code})`, { cause: error })
}

/** The same for what a body that is read ends with, unless its reader ended it. */
export function bodyFailure(error: Error | null): Error | null {
  if (error === null || error.name === 'AbortError') return error
  return storeFailure(error, 'cannot read an image to its end')
}
