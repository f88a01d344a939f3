import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { isatty } from 'node:tty'

const STDOUT = 1
/**
 * Bytes written at once: what a pipe with several writers keeps in one piece on Linux (PIPE_BUF).
 */
const CHUNK = 4096
/** Milliseconds for which a line waits for others, as a system call for each would be expensive. */
const BATCH_TIME = 25
/** Bytes kept for a reader that does not read. Lines beyond it are dropped. */
const CAPACITY = 1024 ** 2
/**
 * Milliseconds until what could not be written is tried again: doubled each time, up to the second.
 */
const [FIRST_RETRY, LONGEST_RETRY] = [10, 1000]
/** Milliseconds for which the end of the process waits for the reader. */
const EXIT_TIMEOUT = 500

/** Text of whole lines, or what a write has left of it. */
interface Chunk {
  readonly bytes: Buffer
  readonly lines: number
}

/**
 * The log's bounded buffer before standard output. Nothing waits for whoever reads that: lines are
 * written in batches, kept while the output does not take them (a pipe that nobody reads, a full
 * disk), and dropped when the buffer is full.
 *
 * What is kept when the process ends is written then, if the output takes it within half a second;
 * what SIGKILL or a crash of Node interrupts is lost. Files are written synchronously: they take
 * everything at once, or fail.
 */
export class LogOutput {
  /** Lines dropped so far. */
  dropped = 0
  /** Told how many lines were dropped, once all that was kept is written. */
  onRecovery: (dropped: number) => void = () => {}

  readonly #descriptor: number
  #batch = ''
  #batchBytes = 0
  #batchLines = 0
  #queue: Chunk[] = []
  #queueBytes = 0
  #timer: NodeJS.Timeout | undefined
  #isStuck = false
  #retry = FIRST_RETRY
  /**
   * Lines dropped that nobody has been told of. While there are any, no line is taken, so that the
   * gap is one.
   */
  #gap = 0

  constructor() {
    this.#descriptor = withoutBlocking(STDOUT)
    process.on('exit', () => this.#writeAtExit())
  }

  /** Takes a line, or several, with the line feeds at their ends. */
  write(text: string, lines = 1): void {
    const length = Buffer.byteLength(text)
    if (this.#gap > 0 || this.#queueBytes + this.#batchBytes + length > CAPACITY) {
      this.dropped += lines
      this.#gap += lines
      this.#wake()
      return
    }
    if (this.#batchBytes + length > CHUNK) {
      this.#endBatch()
      if (!this.#isStuck) this.flush()
    }
    this.#batch += text
    this.#batchBytes += length
    this.#batchLines += lines
    this.#wake()
  }

  /** Only when there is a line: an idle process is not woken. */
  #wake(): void {
    this.#timer ??= setTimeout(this.flush, BATCH_TIME).unref()
  }

  #endBatch(): void {
    if (this.#batchBytes === 0) return
    this.#queue.push({ bytes: Buffer.from(this.#batch), lines: this.#batchLines })
    this.#queueBytes += this.#batchBytes
    this.#batch = ''
    this.#batchBytes = 0
    this.#batchLines = 0
  }

  /** Writes all there is now, as far as the output takes it, and has the rest tried again later. */
  readonly flush = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#endBatch()
    this.#isStuck = this.#writeQueue() !== undefined
    if (this.#isStuck) {
      this.#timer = setTimeout(this.flush, this.#retry).unref()
      this.#retry = Math.min(2 * this.#retry, LONGEST_RETRY)
    } else this.#tellOfGap()
  }

  /** Why it could not write everything; undefined if it could. */
  #writeQueue(): NodeJS.ErrnoException | undefined {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      try {
        const written = writeSync(this.#descriptor, next.bytes)
        this.#retry = FIRST_RETRY
        this.#queueBytes -= written
        if (written === next.bytes.length) this.#queue.shift()
        else this.#queue[0] = { ...next, bytes: next.bytes.subarray(written) }
      } catch (error) {
        return error as NodeJS.ErrnoException
      }
    }
    return undefined
  }

  #tellOfGap(): void {
    const count = this.#gap
    this.#gap = 0
    if (count > 0) this.onRecovery(count)
  }

  #writeAtExit(): void {
    const end = performance.now() + EXIT_TIMEOUT
    const clock = new Int32Array(new SharedArrayBuffer(4))
    for (;;) {
      this.#endBatch()
      const failure = this.#writeQueue()
      if (failure === undefined && this.#gap === 0) return
      if (failure === undefined) this.#tellOfGap()
      else if (failure.code !== 'EAGAIN' || performance.now() > end) return
      else Atomics.wait(clock, 0, 0, FIRST_RETRY)
    }
  }
}

/** Sockets that keep a descriptor from blocking, which would end with them. */
const holders: Socket[] = []

/**
 * A descriptor of the same file, pipe, socket or terminal in which a write never waits, but fails
 * with EAGAIN. A thread that waited instead would keep the process from ending, as Node waits for
 * its threads.
 */
function withoutBlocking(descriptor: number): number {
  try {
    const stats = fstatSync(descriptor)
    // libuv sets O_NONBLOCK (uv_pipe_open), and Node takes it back at the end.
    if (stats.isFIFO() || stats.isSocket())
      holders.push(new Socket({ fd: descriptor, readable: false, writable: true }))
    // A terminal is stopped by Ctrl-S, or by whatever is to read a container's. Linux opens it
    // again for us alone.
    else if (isatty(descriptor)) {
      const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
      return openSync(`/dev/fd/${descriptor}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
    }
  } catch {
    // It is written as it is.
  }
  return descriptor
}
