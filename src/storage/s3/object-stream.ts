import { Readable } from 'node:stream'
import { type OutputBudget, SMALL_PIECE } from '../../core/output-budget.ts'
import { bodyFailure, StoreError } from '../../store/store.ts'

/**
 * How often a stream looks whether its reader stalls, in milliseconds, and after how many looks it
 * does.
 */
const LOOK = 1000
const PATIENCE = 2

export interface ObjectStreamOptions {
  /** The bytes as they arrive; destroying them frees their connection to the bucket. */
  readonly first: Readable
  /** How many there are. */
  readonly length: number
  /** Opens the same bytes again, from this one on. */
  readonly reopen: (from: number) => Promise<Readable>
  /** Whether others may wait for a connection. */
  readonly isCrowded: () => boolean
  readonly budget: OutputBudget
}

/**
 * An object's bytes, without read-ahead of its own: a piece is taken when the reader asks for it,
 * and counts in the budget until it asks for the next. While connections to the bucket are scarce,
 * a reader that stalls gives up its own, and the rest is asked for with a new request when it goes
 * on. So slow readers keep nobody else from an image. Fails with a `StoreError`.
 */
export class ObjectStream extends Readable {
  #source: Readable | undefined
  #options: ObjectStreamOptions
  #given = 0
  #held = 0
  #isAsked = false
  #looks = 0
  #timer: NodeJS.Timeout

  constructor(options: ObjectStreamOptions) {
    super({ highWaterMark: 0 })
    this.#options = options
    this.#source = ready(options.first)
    this.#timer = setInterval(() => this.#look(), LOOK).unref()
  }

  override _read(): void {
    this.#release()
    if (this.#given === this.#options.length) return void this.push(null)
    this.#isAsked = true
    this.#next().then(
      (piece) => {
        this.#isAsked = false
        if (this.destroyed) return
        this.#given += piece.length
        this.#hold(piece.length)
        this.push(piece)
      },
      (error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearInterval(this.#timer)
    this.#source?.destroy()
    this.#release()
    done(bodyFailure(error))
  }

  async #next(): Promise<Buffer> {
    const { reopen, budget } = this.#options
    this.#source ??= ready(await reopen(this.#given))
    const source = this.#source
    // The reader has left meanwhile.
    if (this.destroyed) source.destroy()
    while (source.readableLength === 0) {
      if (source.errored) throw source.errored
      if (source.readableEnded || source.destroyed)
        throw new StoreError('the store did not send all of an image')
      await change(source)
    }
    const piece: Buffer = source.read(Math.min(source.readableLength, budget.pieceSize))
    // With the last piece, its connection is free for others: not destroyed, as that would close
    // it.
    if (this.#given + piece.length === this.#options.length) {
      source.resume()
      this.#source = undefined
    }
    // A part of a larger buffer would keep all of that alive.
    return piece.length <= SMALL_PIECE ? Buffer.from(piece) : piece
  }

  /** Gives up the connection of a reader that stalls. */
  #look(): void {
    this.#looks = this.#isAsked ? 0 : this.#looks + 1
    if (this.#looks < PATIENCE || !this.#options.isCrowded()) return
    this.#source?.destroy()
    this.#source = undefined
  }

  #hold(bytes: number): void {
    this.#held = bytes
    this.#options.budget.hold(bytes)
  }

  #release(): void {
    this.#looks = 0
    this.#options.budget.release(this.#held)
    this.#held = 0
  }
}

/** A source that may fail while nobody waits for it: its failure is looked for when it is asked. */
function ready(source: Readable): Readable {
  return source.on('error', () => {})
}

/** Resolves when a stream has more bytes, or none any more. */
function change(source: Readable): Promise<void> {
  const events = ['readable', 'end', 'error', 'close']
  return new Promise((resolve) => {
    const settle = () => {
      for (const event of events) source.off(event, settle)
      resolve()
    }
    for (const event of events) source.once(event, settle)
    // Begins to read, if nobody has asked yet.
    source.read(0)
  })
}
