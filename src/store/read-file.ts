import {
  close,
  closeSync,
  constants,
  fstat,
  fstatSync,
  open,
  openSync,
  read,
  readSync,
  type Stats,
} from 'node:fs'
import { Readable } from 'node:stream'
import { OutputBudget } from '../core/output-budget.ts'
import { FileStream } from '../storage/local/file-stream.ts'
import { copies } from './copies.ts'
import { type Loan, lender } from './lender.ts'
import { type Opened, StoreError } from './store.ts'

/** Neither through a symbolic link, nor waiting for the other end of a pipe: this store makes neither. */
const READ_ONLY = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Bytes that are read while the process waits, at most. */
const QUICK = 256 * 1024
/** Milliseconds after which such a read was none that the system had in memory; for so many times as long there is no other then. */
const SLOW = 2
const CAUTION = 50

type Range = { readonly start: number; readonly end: number }
type Part = { readonly start: number; readonly length: number }
type Read = (path: string, range?: Range) => Promise<Opened | undefined>

export interface FileReaderOptions {
  /**
   * Whether the process may wait for small reads. What was uploaded not long ago is in the system's memory, and to have it from there takes a
   * third of the time that it takes to hand the work to another thread. A disk that has to be waited for is noticed by the first read that
   * it holds up, and then left to other threads for a while: all such waits together take no more than a fiftieth of the time.
   */
  readonly mayWait: boolean
  /** Counts what is held for readers. */
  readonly budget?: OutputBudget | undefined
}

/**
 * Opens files: reads what is small at once, into buffers that are used again, and leaves the rest to a stream. Undefined for what is no
 * file. Rejects as the file system does.
 */
export function fileReader({ mayWait, budget = new OutputBudget() }: FileReaderOptions): Read {
  const lend = lender(budget)
  let cautiousUntil = mayWait ? 0 : Number.POSITIVE_INFINITY

  /** Leaves the disk to other threads for a while, if the process has been held up since then, whatever came of it. */
  function beware(begun: number): void {
    const end = performance.now()
    if (end - begun > SLOW) cautiousUntil = Math.max(cautiousUntil, end + CAUTION * (end - begun))
  }

  return async (path, range) => {
    const begun = performance.now()
    const isQuick = begun >= cautiousUntil
    let fd = -1
    let isOurs = true
    let loan: Loan | undefined
    try {
      fd = isQuick ? openSync(path, READ_ONLY) : await opened(path)
      const found = isQuick ? fstatSync(fd) : await statusOf(fd)
      if (isQuick) beware(begun)
      if (!found.isFile()) return undefined
      const { size } = found
      const part = partOf(size, range)
      if (part.length === 0) return { size, body: Readable.from([]) }
      loan = lend(part.length)
      if (loan === undefined) {
        isOurs = false
        return { size, body: new FileStream({ fd, ...part }, budget) }
      }
      if (!isQuick || part.length > QUICK) await fill(loan.buffer, fd, part)
      else {
        fillSync(loan.buffer, fd, part)
        beware(begun)
      }
      return lentOut(loan, { size, length: part.length })
    } catch (error) {
      loan?.end(true)
      if (isQuick) beware(begun)
      throw error
    } finally {
      // Whoever waits for the bytes need not wait for this.
      if (isOurs && fd >= 0) isQuick ? closeSync(fd) : close(fd, () => {})
    }
  }
}

function partOf(size: number, { start, end }: Range = { start: 0, end: size - 1 }): Part {
  return { start, length: end - start + 1 }
}

async function fill(buffer: Buffer, fd: number, { start, length }: Part): Promise<void> {
  for (let filled = 0; filled < length; )
    filled += counted(
      await readInto(fd, buffer, { offset: filled, length: length - filled, at: start + filled }),
    )
}

function fillSync(buffer: Buffer, fd: number, { start, length }: Part): void {
  for (let filled = 0; filled < length; )
    filled += counted(readSync(fd, buffer, filled, length - filled, start + filled))
}

function counted(bytes: number): number {
  if (bytes === 0) throw new StoreError('an image is shorter than its file said')
  return bytes
}

function lentOut(loan: Loan, { size, length }: { size: number; length: number }): Opened {
  const bytes = loan.buffer.subarray(0, length)
  return {
    size,
    bytes,
    done: loan.end,
    get body() {
      return copies(bytes, () => loan.end(true))
    },
  }
}

// Not those of `node:fs/promises`, whose handles cost a small read a third of its time.

function opened(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, READ_ONLY, (error, fd) => (error ? reject(error) : resolve(fd)))
  })
}

function statusOf(fd: number): Promise<Stats> {
  return new Promise((resolve, reject) => {
    fstat(fd, (error, stats) => (error ? reject(error) : resolve(stats)))
  })
}

function readInto(
  fd: number,
  buffer: Buffer,
  { offset, length, at }: { offset: number; length: number; at: number },
): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, offset, length, at, (error, count) => (error ? reject(error) : resolve(count)))
  })
}
