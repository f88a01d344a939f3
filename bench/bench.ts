import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { compareAll } from './compare.ts'
import { findMedia, folderIn, removeFolders } from './folders.ts'
import { killAll } from './process.ts'
import { isInstalled } from './programs.ts'
import { scenariosOf } from './scenarios.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
  },
})

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

const media = await findMedia()
const scenarios = scenariosOf({ isQuick: values.quick, seconds: Number(values.seconds ?? 2) }).filter(
  ({ title }) => new RegExp(values.only, 'i').test(title),
)
const base = media.get('memory') ?? media.get('disk') ?? ''
await using folder = await folderIn(base)
const scripts = join(folder.path, 'scripts')
const begun = performance.now()
const comparisons = await compareAll({
  scenarios,
  media,
  rounds: Number(values.rounds ?? (values.quick ? 3 : 5)),
  scripts,
})
console.log(JSON.stringify(comparisons).length, ((performance.now() - begun) / 1000).toFixed(0), 's')
