import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSpool, type Spool } from '../../src/spool.ts'

export interface TempFolder extends AsyncDisposable {
  readonly path: string
  /** Names of what is in it, sorted. */
  names(): Promise<string[]>
}

/** A new folder that is removed, with all in it, when it is disposed of. */
export async function tempFolder(): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), 'layover-'))
  return {
    path,
    names: async () => (await readdir(path)).sort(),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}

/** A spool in a folder of its own, without a floor. */
export async function tempSpool(): Promise<TempFolder & { readonly spool: Spool }> {
  const folder = await tempFolder()
  return { ...folder, spool: await openSpool({ dir: folder.path, minFree: 0, maxAge: 3600 }) }
}
