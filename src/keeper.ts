import type { Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import type { Spool, TempFile } from './spool.ts'
import type { StagedBytes } from './store/store.ts'

/** How much of a body is kept in memory before it goes to a temp file, and the size of each write to that file. */
const SLAB_BYTES = 128 * 1024
/** Slabs of each kind that wait for the next upload: 8 MB of them. */
const MOST_WAITING = 64

/** Slabs that are used again and again. */
class Slabs {
  #waiting: Buffer[] = []
  #make: () => Buffer

  constructor(make: () => Buffer) {
    this.#make = make
  }

  take(): Buffer {
    return this.#waiting.pop() ?? this.#make()
  }

  giveBack(slab: Buffer): void {
    if (this.#waiting.length < MOST_WAITING) this.#waiting.push(slab)
  }
}

/** A body's first one is in shared memory: if there is no other, a thread of the store writes from it. Copying into such memory takes longer. */
const first = new Slabs(() => Buffer.from(new SharedArrayBuffer(SLAB_BYTES)))
const further = new Slabs(() => Buffer.allocUnsafeSlow(SLAB_BYTES))

/**
 * Keeps a body: a small one in memory, a larger one in a temp file that is written a slab at a time.
 *
 * Copying into slabs that are used again lets go of the socket's own buffers at once, which would else outlive the upload by many
 * times their size: they are not what the garbage collector counts.
 */
export class Keeper {
  /** Bytes so far. */
  size = 0
  #spool: Spool
  #md5: Hash | undefined
  #file: TempFile | undefined
  /** The bytes that are not in the file, `#filled` of them. */
  #slab: Buffer | undefined
  #filled = 0

  constructor(spool: Spool, md5: Hash | undefined) {
    this.#spool = spool
    this.#md5 = md5
  }

  async push(chunk: Buffer): Promise<void> {
    this.#md5?.update(chunk)
    this.size += chunk.length
    for (let copied = 0; copied < chunk.length; ) {
      if (this.#filled === SLAB_BYTES) await this.#flush()
      this.#slab ??= (this.#file === undefined ? first : further).take()
      const count = chunk.copy(this.#slab, this.#filled, copied)
      this.#filled += count
      copied += count
    }
  }

  /** The whole body, until it is disposed of; with `onDisk` in a file, however small it is. */
  async end({ onDisk = false } = {}): Promise<StagedBytes & AsyncDisposable> {
    const kept = {
      size: this.size,
      md5: this.#md5?.digest('base64'),
      [Symbol.asyncDispose]: () => this.discard(),
    }
    if (this.#file === undefined && !onDisk) {
      const bytes = this.#slab?.subarray(0, this.size) ?? Buffer.of()
      return { ...kept, bytes, open: () => Readable.from([bytes]) }
    }
    const file = await this.#flush()
    this.#giveBackSlab()
    return { ...kept, file, open: () => createReadStream(file.path, { highWaterMark: SLAB_BYTES }) }
  }

  async discard(): Promise<void> {
    this.#giveBackSlab()
    await this.#file?.remove()
  }

  async #flush(): Promise<TempFile> {
    const isFirst = this.#file === undefined
    this.#file ??= await this.#spool.create()
    const file = this.#file
    const bytes = this.#slab?.subarray(0, this.#filled) ?? Buffer.of()
    this.#filled = 0
    await file.write(bytes)
    if (isFirst) this.#giveBackSlab()
    return file
  }

  #giveBackSlab(): void {
    const slab = this.#slab
    this.#slab = undefined
    if (slab !== undefined) (slab.buffer instanceof SharedArrayBuffer ? first : further).giveBack(slab)
  }
}
