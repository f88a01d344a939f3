import { OutputBudget } from '../core/output-budget.ts'

/** Sizes of the buffers that are lent, in bytes. What needs a larger one is read piece by piece. */
const SIZES = [64 * 1024, 256 * 1024, 1024 ** 2]
/** Bytes that are lent at once, at most. */
const MOST_LENT = 32 * 1024 ** 2
/** Bytes that wait for the next reader, at most. */
const MOST_WAITING = 8 * 1024 ** 2

/** A buffer for one read. */
export interface Loan {
  /** At least as long as was asked for; it holds what its last reader left in it. */
  readonly buffer: Buffer
  /** Ends the loan. What may still be looked at by somebody is not lent again: `reusable` says that it is not. */
  end(reusable: boolean): void
}

/**
 * Buffer pool: lends buffers and takes them back, as reading every image into a new one would keep
 * the garbage collector busy. What is lent counts in the budget. Undefined if too large a buffer is
 * wanted, or too much is lent.
 */
export function lender(budget = new OutputBudget()): (length: number) => Loan | undefined {
  const waiting = SIZES.map((): Buffer[] => [])
  // With little memory, images that are streamed need some of the budget, too.
  const mostLent = Math.min(MOST_LENT, budget.limit / 2)
  let lent = 0
  let kept = 0

  return (length) => {
    if (length === 0) return undefined
    const place = SIZES.findIndex((size) => size >= length)
    const size = SIZES[place]
    const ours = waiting[place]
    if (size === undefined || ours === undefined || lent + size > mostLent) return undefined
    const before = ours.pop()
    if (before !== undefined) kept -= size
    const buffer = before ?? Buffer.allocUnsafeSlow(size)
    lent += size
    budget.hold(size)
    let isOver = false
    return {
      buffer,
      end(reusable) {
        if (isOver) return
        isOver = true
        lent -= size
        budget.release(size)
        if (!reusable || kept + size > MOST_WAITING) return
        ours.push(buffer)
        kept += size
      },
    }
  }
}
