import { close, read } from 'node:fs'
import { Readable } from 'node:stream'
import type { OutputBudget } from '../../core/output-budget.ts'
import { bodyFailure, StoreError } from '../../store/store.ts'

export interface FilePart {
  /** An open file, which the stream closes. */
  readonly fd: number
  readonly start: number
  readonly length: number
}

/**
 * The bytes of an open file, without read-ahead: a piece is read when the reader asks for it, which
 * for a socket is when it has taken the piece before. So a reader that stalls holds one piece,
 * which counts in the budget. Fails with a `StoreError`.
 *
 * Not `fs.createReadStream`, which keeps a second piece ready, both of one size whatever the memory
 * that is left.
 */
export class FileStream extends Readable {
  #fd: number
  #at: number
  #end: number
  #budget: OutputBudget
  /** Bytes of the piece that the reader has, or that is being read. */
  #held = 0
  #isReading = false
  #onRead: (() => void) | undefined

  constructor({ fd, start, length }: FilePart, budget: OutputBudget) {
    super({ highWaterMark: 0 })
    this.#fd = fd
    this.#at = start
    this.#end = start + length
    this.#budget = budget
  }

  override _read(): void {
    this.#release()
    const length = Math.min(this.#end - this.#at, this.#budget.pieceSize)
    // Only now, and not with the last piece, as the stream would end while its reader still has
    // that one.
    if (length === 0) return void this.push(null)
    this.#held = length
    this.#budget.hold(length)
    this.#isReading = true
    const piece = Buffer.allocUnsafeSlow(length)
    read(this.#fd, piece, 0, length, this.#at, (error, count) => {
      this.#isReading = false
      if (this.#onRead) this.#onRead()
      else if (error) this.destroy(error)
      else if (count === 0) this.destroy(new StoreError('an image is shorter than its file said'))
      else {
        this.#at += count
        this.push(count === length ? piece : piece.subarray(0, count))
      }
    })
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const end = () => {
      this.#release()
      close(this.#fd, (failure) => done(bodyFailure(error ?? failure ?? null)))
    }
    // A read under way must not find another file under its number.
    if (this.#isReading) this.#onRead = end
    else end()
  }

  #release(): void {
    this.#budget.release(this.#held)
    this.#held = 0
  }
}
