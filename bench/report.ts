import type { Comparison } from './compare.ts'
import { LAYOVER } from './contestants/contestant.ts'
import { bodyBytes } from './gets.ts'
import type { Round } from './measure.ts'
import { medianOf, ratio } from './ratios.ts'
import { MB, type Scenario } from './scenarios.ts'
import type { Measured, Target } from './targets.ts'

export interface Report {
  readonly machine: readonly string[]
  readonly measured: Measured
  readonly targets: readonly Target[]
  /** What a reader has to know of this run, a sentence each. */
  readonly notes: readonly string[]
  /** File name of the chart. */
  readonly chart: string
}

/** The whole report in Markdown. */
export function markdownOf({ machine, measured, targets, notes, chart }: Report): string {
  const faults = measured.comparisons.flatMap(faultsOf)
  return [
    '# Results of the benchmark',
    list(machine),
    list([...notes, ...faults]),
    `![Requests a second, as a ratio to plain Fastify](${chart})`,
    '## Targets',
    targetTable(targets),
    '## Everything measured',
    figureTable(measured.comparisons),
    extraTable(measured),
  ]
    .filter((part) => part !== '')
    .join('\n\n')
    .concat('\n')
}

const list = (lines: readonly string[]) => lines.map((line) => `- ${line}`).join('\n')

export function targetTable(targets: readonly Target[]): string {
  const rows = targets.map(({ what, limit, measured, isMet }) => [
    what,
    limit,
    measured ?? '',
    measured === undefined ? 'not measured' : isMet ? 'met' : '**not met**',
  ])
  return table(['', 'target', 'measured', ''], rows)
}

const HEADINGS = [
  'requests/s',
  'MB/s',
  'p99 ms',
  'CPU ms/request',
  'CPU s/GB',
  'peak RSS MB',
  'server busy',
  'wrk busy',
  "Layover's rate",
  "Layover's CPU",
]

function figureTable(comparisons: readonly Comparison[]): string {
  const rows = comparisons.flatMap((comparison) =>
    Object.entries(comparison.rounds).map(([name, rounds], i) => [
      i === 0 ? comparison.scenario.title : '',
      name,
      ...figures(comparison.scenario, rounds),
      ...(name === LAYOVER ? ['', ''] : ratiosTo(comparison, name)),
    ]),
  )
  return table(['', '', ...HEADINGS], rows)
}

/** How much more Layover does than this one, and how much CPU it takes of this one's. */
function ratiosTo(comparison: Comparison, name: string): string[] {
  return (['requestsPerSecond', 'cpuMsPerRequest'] as const).map(
    (measure) => `${shown(ratio(comparison, [LAYOVER, name], measure), 2)} ×`,
  )
}

function figures(scenario: Scenario, rounds: readonly Round[]): string[] {
  const bytes = scenario.kind === 'upload' ? scenario.size : bodyBytes(scenario)
  const middle = (value: (round: Round) => number) => medianOf(rounds, value)
  return [
    shown(
      middle((round) => round.requestsPerSecond),
      0,
    ),
    bytes === 0
      ? ''
      : shown(
          middle((round) => (round.requestsPerSecond * bytes) / MB),
          0,
        ),
    shown(
      middle((round) => round.p99Ms),
      1,
    ),
    shown(
      middle((round) => round.cpuMsPerRequest),
      3,
    ),
    bytes === 0
      ? ''
      : shown(
          middle((round) => (round.cpuMsPerRequest / 1000 / bytes) * 1024 * MB),
          2,
        ),
    shown(
      middle((round) => round.peakMemory),
      0,
    ),
    percent(middle((round) => (round.cpuMsPerRequest * round.requestsPerSecond) / 1000)),
    percent(middle((round) => round.generatorShare)),
  ]
}

function extraTable({ workers, slowLinks, many, start }: Measured): string {
  const rows = [
    ...(workers?.uploads
      ? [['two workers, uploads: by CPU, of one', `${workers.uploads.toFixed(2)} ×`]]
      : []),
    ...(workers?.gets ? [['two workers, GETs: by CPU, of one', `${workers.gets.toFixed(2)} ×`]] : []),
    ...(slowLinks
      ? [['256 slow uploads of 20 MB: RSS idle → peak', `${slowLinks.idle} → ${slowLinks.peak} MB`]]
      : []),
    ...(many ?? []).flatMap(({ live, expired, startAndSweep, list }) => [
      [
        `${live.toLocaleString('en')} live images: CPU of start and sweep of ${expired.toLocaleString('en')}`,
        `${startAndSweep.toFixed(2)} s`,
      ],
      [`${live.toLocaleString('en')} live images: CPU of a page of the list`, `${list.toFixed(2)} s`],
    ]),
    ...(start === undefined ? [] : [['start to first answer', `${start.toFixed(0)} ms`]]),
  ]
  return rows.length === 0 ? '' : table(['', ''], rows)
}

/** What went wrong in a scenario, of whom. */
function faultsOf({ scenario, rounds }: Comparison): string[] {
  return Object.entries(rounds).flatMap(([name, all]) => {
    const faults = all.find(({ faults }) => faults !== '')?.faults
    return faults === undefined ? [] : [`**${scenario.title}, ${name}: ${faults}.**`]
  })
}

export const isFaulty = ({ comparisons }: Measured) =>
  comparisons.some((comparison) => faultsOf(comparison).length > 0)

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

const shown = (value: number, digits: number) => (Number.isFinite(value) ? value.toFixed(digits) : '')
const percent = (value: number) => (Number.isFinite(value) ? `${Math.round(value * 100)} %` : '')
