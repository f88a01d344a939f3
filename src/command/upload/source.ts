import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import { UploadFailed } from './failure.ts'

/** Bytes that are read at once. */
const CHUNK = 128 * 1024

/** What is to be uploaded. */
export interface Source extends AsyncDisposable {
  /** What it is called in the form: no folders. */
  readonly name: string
  /** Bytes, if they can be known before it is read. */
  readonly size: number | undefined
  /** Whether `read` can be called, again or at all. */
  isReadable(): boolean
  /** Its bytes, as they come. Throws an `UploadFailed` if they are not as many as `size`. */
  read(): AsyncGenerator<Buffer>
}

/** Opens a file, a pipe by its name, or standard input by `-`. Rejects with an `UploadFailed`. */
export async function openSource(path: string): Promise<Source> {
  if (path === '-') return standardInput()
  let file: FileHandle | undefined
  try {
    file = await open(path)
    const stats = await file.stat()
    if (stats.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' })
    return sourceOf(file, basename(path), stats.isFile() ? stats.size : undefined)
  } catch (error) {
    await file?.close()
    throw unreadable(error)
  }
}

function sourceOf(file: FileHandle, name: string, size: number | undefined): Source {
  let isFresh = true
  return {
    name,
    size,
    isReadable: () => isFresh || size !== undefined,
    async *read() {
      isFresh = false
      try {
        const taken = yield* chunksOf(file, size)
        if (size !== undefined && (taken !== size || (await file.stat()).size !== size))
          throw new UploadFailed('it was written to while it was read; nothing was uploaded')
      } catch (error) {
        throw unreadable(error)
      }
    },
    [Symbol.asyncDispose]: () => file.close().catch(() => {}),
  }
}

/** All of a pipe, or so many bytes of a file from its beginning; not as a stream, which would close it when it is left early. */
async function* chunksOf(file: FileHandle, size: number | undefined): AsyncGenerator<Buffer, number> {
  for (let taken = 0; ; ) {
    const length = Math.min(CHUNK, (size ?? Number.POSITIVE_INFINITY) - taken)
    const buffer = Buffer.allocUnsafe(length)
    const position = size === undefined ? null : taken
    const { bytesRead } = length > 0 ? await file.read({ buffer, position }) : { bytesRead: 0 }
    if (bytesRead === 0) return taken
    taken += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

function standardInput(): Source {
  let isFresh = true
  return {
    name: 'stdin',
    size: undefined,
    isReadable: () => isFresh,
    async *read() {
      isFresh = false
      yield* process.stdin
    },
    // Whoever writes there, however much, is told so by the broken pipe.
    [Symbol.asyncDispose]: async () => void process.stdin.destroy(),
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'you may not read it',
  EISDIR: 'it is a folder',
}

function unreadable(error: unknown): Error {
  const { code = '' } = error as NodeJS.ErrnoException
  if (error instanceof UploadFailed || code === '') return error as Error
  return new UploadFailed(REASONS[code] ?? `it cannot be read (${code})`)
}
