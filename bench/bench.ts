import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { chartOf } from './chart.ts'
import { compareAll } from './compare.ts'
import { findMedia, folderIn, type Medium, removeFolders } from './folders.ts'
import { machineFacts } from './machine.ts'
import { measureMany } from './million.ts'
import { type Options, readOptions } from './options.ts'
import { killAll } from './process.ts'
import { isInstalled } from './programs.ts'
import { isFaulty, markdownOf, targetTable } from './report.ts'
import { compareS3 } from './s3.ts'
import { KB, onS3, scenariosOf } from './scenarios.ts'
import { measureSlowLinks } from './slow-links.ts'
import { measureStarts } from './starts.ts'
import { type Measured, targetsOf } from './targets.ts'
import { compareWorkers } from './workers.ts'

/**
 * How fast Layover is beside others on the same machine: `npm run bench`, with `-- --quick` for the targets alone. `docs/performance.md`
 * says what it measures and how to read it. Linux alone.
 */

const options = readOptions()
if (!isInstalled('wrk')) {
  console.error('wrk is needed, which puts the load on: apt-get install wrk')
  process.exit(1)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    killAll()
    removeFolders()
    process.exit(130)
  })

const begun = performance.now()
const media = await findMedia()
const measured = await measureAll(options, media)
const targets = targetsOf(measured)
write(options)
console.log(targetTable(targets))
console.log(`\n${Math.round((performance.now() - begun) / 1000)} s`)
// A target that is missed is a result, and no failure of the run; a refusal is one, though what was answered was right.
process.exitCode = isFaulty(measured) ? 2 : 0

async function measureAll(options: Options, media: ReadonlyMap<Medium, string>): Promise<Measured> {
  const base = media.get('memory') ?? media.get('disk')
  if (base === undefined) throw new Error('there is no file system with 6 GB of room to compare on')
  await using folder = await folderIn(base)
  const scripts = join(folder.path, 'scripts')
  await mkdir(scripts)
  const { isQuick, rounds, seconds, getSeconds, isWanted } = options
  const scenarios = scenariosOf({ isQuick, seconds, getSeconds }).filter(({ title }) => isWanted(title))
  const only = <T>(title: string, run: () => Promise<T>) => (isWanted(title) ? run() : undefined)
  const s3 = (isQuick ? [] : [16, 64]).filter((connections) => isWanted(onS3(50 * KB, connections)))
  const counts = isQuick ? [50_000, 100_000] : [500_000, 1_000_000]
  return {
    start: await only('start', () => measureStarts(base)),
    comparisons: [
      ...(await compareAll({ scenarios, media, rounds, scripts })),
      ...(s3.length > 0 ? await compareS3(base, { rounds, seconds, scripts, connections: s3 }) : []),
    ],
    workers: await only('workers', () => compareWorkers(base, { rounds, seconds, scripts })),
    slowLinks: await only('slow links', () => measureSlowLinks(base)),
    many: await only('many images', () => measureMany(base, counts, 10_000)),
  }
}

function write({ name, into: folder }: Options): void {
  mkdirSync(folder, { recursive: true })
  const chart = `${name}.svg`
  const report = { machine: machineFacts(), measured, targets, notes: notes(), chart }
  writeFileSync(join(folder, `${name}.md`), markdownOf(report))
  writeFileSync(join(folder, chart), chartOf(measured.comparisons))
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ ...report, measured }, undefined, 1)}\n`)
}

function notes(): string[] {
  return [
    `Medians of ${options.rounds} rounds; ratios are medians of the rounds' own ratios.`,
    ...(media.has('disk')
      ? []
      : ['Nothing was measured on a disk: the temp folder is in memory, or has no room.']),
    ...(media.has('memory')
      ? [
          'Upload targets are judged on the file system in memory, where all make the same calls and none waits for a disk.',
        ]
      : ['There is no file system in memory with room: upload targets are not measured.']),
    ...(isInstalled('nginx')
      ? []
      : ['nginx is not installed (apt-get install nginx-light): its targets are not measured.']),
  ]
}
