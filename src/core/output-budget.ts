/**
 * Bytes of a streamed response that are read at once: many while few are held, as that costs least,
 * and few otherwise.
 */
export const LARGE_PIECE = 256 * 1024
export const SMALL_PIECE = 16 * 1024
/** Bytes held by all responses together from which on pieces are small. */
const ROOM_FOR_LARGE = 16 * 1024 ** 2
/**
 * The part of MAX_MEMORY that readers may have. The rest is for the process itself, its caches and
 * uploads.
 */
const PART_FOR_READERS = 1 / 4

/**
 * Output buffer budget: counts the bytes that this process holds in memory for clients that have
 * not read them yet. Bytes that many clients share, such as those of a cached image, are not held
 * for any of them and do not count.
 */
export class OutputBudget {
  /** Bytes that may be held; `Infinity` for any number. */
  readonly limit: number
  #held = 0

  /** `limit` is in bytes; none unless given. */
  constructor(limit = Number.POSITIVE_INFINITY) {
    this.limit = limit
  }

  /** Bytes that are held now. */
  get held(): number {
    return this.#held
  }

  /** How many bytes of a stream to read next. */
  get pieceSize(): number {
    return this.#held + LARGE_PIECE <= ROOM_FOR_LARGE ? LARGE_PIECE : SMALL_PIECE
  }

  /** Whether more than this part of the limit is held. */
  isOver(part = 1): boolean {
    return this.#held > this.limit * part
  }

  /** Counts bytes. Whoever calls it releases them, once. */
  hold(bytes: number): void {
    this.#held += bytes
  }

  release(bytes: number): void {
    this.#held -= bytes
  }
}

/** The budget of a process that may take `maxMemory` bytes; 0 for any number. */
export function openOutputBudget({ maxMemory }: { readonly maxMemory: number }): OutputBudget {
  return new OutputBudget(maxMemory === 0 ? undefined : maxMemory * PART_FOR_READERS)
}
