import type { Spool, TempFile } from '../spool.ts'
import { abortable } from './abortable.ts'
import { type StagedBytes, StoreError } from './store.ts'

/** A file whose bytes are on the disk, without a name of its own yet. Disposing of it removes what was made for it. */
export interface DurableFile extends AsyncDisposable {
  readonly path: string
}

/**
 * Brings staged bytes onto the disk: those in a file are synced where they are, others are written to a temp file. Rejects if
 * they are not as many as announced, and then leaves nothing.
 */
export async function durableFile(
  spool: Spool,
  staged: StagedBytes,
  signal?: AbortSignal,
): Promise<DurableFile> {
  if (staged.file !== undefined) {
    const { path } = staged.file
    if ((await staged.file.sync()) !== staged.size) throw wrongSize()
    return { path, [Symbol.asyncDispose]: async () => {} }
  }
  const temp = await spool.create()
  try {
    await writeAll(temp, staged, signal)
    if ((await temp.sync()) !== staged.size) throw wrongSize()
    return { path: temp.path, [Symbol.asyncDispose]: temp.remove }
  } catch (error) {
    await temp.remove()
    throw error
  }
}

async function writeAll(temp: TempFile, staged: StagedBytes, signal?: AbortSignal): Promise<void> {
  if (staged.bytes !== undefined) return temp.write(staged.bytes)
  let written = 0
  // A stream is destroyed when the loop over it is left, and when the signal says so.
  for await (const chunk of abortable(staged.open(), signal)) {
    await temp.write(chunk)
    written += chunk.length
    if (written > staged.size) return
  }
}

const wrongSize = () => new StoreError('the staged bytes are not as many as announced')
