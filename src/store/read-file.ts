import { close, constants, createReadStream, fstat, open, read, type Stats } from 'node:fs'
import { Readable } from 'node:stream'
import { type Loan, lender } from './lender.ts'
import { bodyFailure, type Opened, StoreError } from './store.ts'

/** Neither through a symbolic link, nor waiting for the other end of a pipe: this store makes neither. */
const READ_ONLY = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
/** Bytes of a large file that are read at once. */
const PIECE = 256 * 1024

type Range = { readonly start: number; readonly end: number }

/**
 * Opens files: reads what is small at once, into buffers that are used again, and leaves the rest to a stream. Undefined for what is no
 * file. Rejects as the file system does.
 */
export function fileReader(): (path: string, range?: Range) => Promise<Opened | undefined> {
  const lend = lender()

  return async (path, range) => {
    const fd = await opened(path)
    let isOpen = true
    try {
      const found = await statusOf(fd)
      if (!found.isFile()) return undefined
      const { size } = found
      const { start, end } = range ?? { start: 0, end: size - 1 }
      const length = end - start + 1
      const loan = length > 0 ? lend(length) : undefined
      if (loan === undefined) {
        isOpen = false
        return { size, body: reading(fd, { start, end }) }
      }
      await fill(loan, fd, { start, length })
      return lentOut(loan, { size, length })
    } finally {
      // Whoever waits for the bytes need not wait for this.
      if (isOpen) close(fd, () => {})
    }
  }
}

async function fill(loan: Loan, fd: number, { start, length }: { start: number; length: number }) {
  try {
    for (let filled = 0; filled < length; ) {
      const count = await readInto(fd, loan.buffer, {
        offset: filled,
        length: length - filled,
        at: start + filled,
      })
      if (count === 0) throw new StoreError('an image is shorter than its file said')
      filled += count
    }
  } catch (error) {
    loan.end(true)
    throw error
  }
}

function lentOut(loan: Loan, { size, length }: { size: number; length: number }): Opened {
  const bytes = loan.buffer.subarray(0, length)
  return {
    size,
    bytes,
    done: loan.end,
    get body() {
      const own = Buffer.from(bytes)
      loan.end(true)
      return Readable.from([own])
    },
  }
}

/** The bytes of an open file. Another stream behind its own, to put its failures in a store's words, would cost each download time. */
function reading(fd: number, { start, end }: Range): Readable {
  // To Node, an end before the start is a mistake, but an image may be empty.
  if (end < start) {
    close(fd, () => {})
    return Readable.from([])
  }
  const body = createReadStream('', { fd, start, end, highWaterMark: PIECE })
  const destroy = body._destroy.bind(body)
  body._destroy = (error, done) => destroy(bodyFailure(error), done)
  return body
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
