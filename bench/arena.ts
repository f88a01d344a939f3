import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Contestant, type Ground, LAYOVER, NGINX, PLAIN, RAW } from './contestants/contestant.ts'
import { type Layover, startLayover } from './contestants/layover.ts'
import { startNginx } from './contestants/nginx.ts'
import { startPlain, startRaw } from './contestants/node.ts'
import { folderIn } from './folders.ts'
import { isInstalled } from './programs.ts'

/** All contestants, started on one file system. Disposing of it ends them and removes what they stored. */
export interface Arena extends AsyncDisposable {
  /** Those that could be started, by name. */
  readonly contestants: ReadonlyMap<string, Contestant>
  readonly layover: Layover
  /** Folder of the images that static servers serve. */
  readonly gallery: string
}

/** The order in which they are shown. */
export const ORDER = [LAYOVER, PLAIN, RAW, NGINX]

/** Starts those of the contestants that are wanted, with their data below `base`. */
export async function openArena(base: string, wanted: ReadonlySet<string>): Promise<Arena> {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(await folderIn(base))
  const gallery = join(folder.path, 'gallery')
  await mkdir(gallery)
  const ground: Ground = { base: folder.path, gallery, sync: true }
  const layover = stack.use(await startLayover({ dataDir: join(folder.path, 'layover') }))
  const contestants = new Map<string, Contestant>([[LAYOVER, layover]])
  const others = { [PLAIN]: startPlain, [RAW]: startRaw, [NGINX]: startNginx }
  for (const [name, start] of Object.entries(others)) {
    if (!wanted.has(name) || (name === NGINX && !isInstalled('nginx'))) continue
    contestants.set(name, stack.use(await start(ground)))
  }
  const owned = stack.move()
  return { contestants, layover, gallery, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
