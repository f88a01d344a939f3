import { join } from 'node:path'
import { treeOf } from '../test/support/process-facts.ts'
import { inTurn } from './compare.ts'
import { type Layover, startLayover } from './contestants/layover.ts'
import { folderIn } from './folders.ts'
import { makeGallery } from './gallery.ts'
import { getRound } from './gets.ts'
import { median, type Round } from './measure.ts'
import { say } from './say.ts'
import { KB } from './scenarios.ts'
import { uploadRound } from './uploads.ts'

/** What two workers can do of what one can, if each has a core; undefined where this version has no workers. */
export interface WorkersResult {
  readonly uploads?: number
  readonly gets?: number
}

const [SIZE, CONNECTIONS] = [50 * KB, 64]
const [ONE, TWO] = ['one worker', 'two workers']

/** Compares a server of two workers with a server of one, both on the servers' one core. */
export async function compareWorkers(
  base: string,
  { rounds, seconds, scripts }: { rounds: number; seconds: number; scripts: string },
): Promise<WorkersResult> {
  await using folder = await folderIn(base)
  const start = (name: string, WORKERS: string) =>
    startLayover({ dataDir: join(folder.path, WORKERS), env: { WORKERS }, name })
  await using one = await start(ONE, '1')
  await using two = await start(TWO, '2')
  if ((await treeOf(two.pid)).length < 2) return {}
  const servers = [one, two]
  const run = { size: SIZE, connections: CONNECTIONS, scripts, medium: 'memory' } as const
  const uploads = await inTurn(servers, rounds, (server, isWarmUp) =>
    uploadRound(server, { ...run, seconds: isWarmUp ? 1 : seconds }),
  )
  say('uploads by workers', uploads)
  const galleries = new Map(servers.map((server) => [server.name, galleryOf(server, folder.path)]))
  const gets = await inTurn(servers, rounds, (server) => {
    const gallery = galleries.get(server.name)
    if (gallery === undefined) throw new Error('there is no gallery')
    return getRound(server, { ...run, way: 'again', seconds: 1, gallery })
  })
  say('GETs by workers', gets)
  return { uploads: scaling(uploads), gets: scaling(gets) }
}

const galleryOf = ({ dataDir }: Layover, folder: string) =>
  makeGallery(join(folder, `gallery-${dataDir.at(-1)}`), join(dataDir, 'images'), [SIZE])

/**
 * How much more two workers can do on two cores than one on one, by the CPU time that a request takes of all their processes: the generator has
 * the second core, so that no rate can show it. Two cores have twice the time; but the busiest process has only one of them.
 */
function scaling(rounds: Readonly<Record<string, readonly Round[]>>): number {
  const [one = [], two = []] = [rounds[ONE], rounds[TWO]]
  return median(
    two.map((round, i) => {
      const before = one[i]?.cpuMsPerRequest ?? Number.NaN
      return (before / round.cpuMsPerRequest) * Math.min(2, 1 / round.busiest)
    }),
  )
}
