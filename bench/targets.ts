import type { Comparison } from './compare.ts'
import { LAYOVER, NGINX, PLAIN, RAW } from './contestants/contestant.ts'
import type { ManyResult } from './million.ts'
import { type Measure, ratio } from './ratios.ts'
import { get, KB, MB, upload } from './scenarios.ts'
import type { SlowLinksResult } from './slow-links.ts'
import type { WorkersResult } from './workers.ts'

/** What the speed of this program is held to. */
export interface Target {
  readonly what: string
  /** In words. */
  readonly limit: string
  /** In words; undefined where it was not measured. */
  readonly measured: string | undefined
  readonly isMet: boolean
}

/** Everything that one run has measured; what was left out is undefined. */
export interface Measured {
  readonly comparisons: readonly Comparison[]
  readonly workers: WorkersResult | undefined
  readonly slowLinks: SlowLinksResult | undefined
  readonly many: readonly ManyResult[] | undefined
  /** Milliseconds. */
  readonly start: number | undefined
}

export function targetsOf(measured: Measured): Target[] {
  const { comparisons, workers, slowLinks, many, start } = measured
  const compared = (title: string, other: string, limit: number, measure?: Measure) =>
    comparedWith(comparisons, { title, other, limit, measure })
  const largest = many?.at(-1)
  return [
    compared(upload(50 * KB, 16), PLAIN, 1.8),
    compared(upload(50 * KB, 16), RAW, 1.2),
    ...[5 * MB, 20 * MB].flatMap((size) => [
      compared(upload(size, 16), PLAIN, 1.7),
      compared(upload(size, 16), RAW, 1, 'cpuMsPerRequest'),
    ]),
    ...[50 * KB, MB].flatMap((size) => [
      compared(get(size, 'first', 32), PLAIN, 2),
      compared(get(size, 'again', 32), PLAIN, 4),
      compared(get(size, 'again', 32), NGINX, size === MB ? 1 : 0.5),
    ]),
    atLeast('two workers, uploads of 50 KB, by CPU', 1.7, workers?.uploads),
    atLeast('two workers, GETs of 50 KB, by CPU', 1.7, workers?.gets),
    atMost('256 slow uploads of 20 MB: more memory than idle', 150, 'MB', growth(slowLinks)),
    atMost(
      `start and sweep with ${countsOf(largest)}: CPU above an empty store's`,
      2,
      's',
      largest?.startAndSweep,
    ),
    // It grows with what is stored: with a tenth of that, it may take a tenth.
    atMost(`a page of the list with ${countsOf(largest)}: CPU`, 2 * partOf(largest), 's', largest?.list),
    atMost('start to first answer', 400, 'ms', start),
  ]
}

interface ComparedWith {
  readonly title: string
  readonly other: string
  readonly limit: number
  /** Of requests a second it has to have more than the limit, of CPU time less. */
  readonly measure: Measure | undefined
}

function comparedWith(
  comparisons: readonly Comparison[],
  { title, other, limit, measure = 'requestsPerSecond' }: ComparedWith,
): Target {
  const comparison = comparisons.find(({ scenario }) => scenario.title === title)
  const value = comparison && ratio(comparison, [LAYOVER, other], measure)
  const isRate = measure === 'requestsPerSecond'
  const what = `${title}: ${isRate ? 'rate' : 'CPU'} of ${other}'s`
  if (comparison === undefined || value === undefined || Number.isNaN(value))
    return unmeasured(what, `${isRate ? '≥' : '≤'} ${limit} ×`)
  const judged = isRate ? atLeast(what, limit, value) : atMost(what, limit, '×', value)
  const faulty = (comparison.rounds[LAYOVER] ?? []).filter(({ faults }) => faults !== '').length
  const target =
    faulty > 0 ? { ...judged, isMet: false, measured: `${judged.measured}, ${faulty} faulty rounds` } : judged
  if (!isRate) return target
  // What a rate would be if the machine did nothing else.
  const byCpu = ratio(comparison, [other, LAYOVER], 'cpuMsPerRequest')
  return { ...target, measured: `${target.measured} (by CPU ${byCpu.toFixed(2)} ×)` }
}

function atLeast(what: string, limit: number, value: number | undefined): Target {
  if (value === undefined) return unmeasured(what, `≥ ${limit} ×`)
  return { what, limit: `≥ ${limit} ×`, measured: `${value.toFixed(2)} ×`, isMet: value >= limit }
}

function atMost(what: string, limit: number, unit: string, value: number | undefined): Target {
  if (value === undefined) return unmeasured(what, `≤ ${limit} ${unit}`)
  const digits = limit < 10 ? 2 : 0
  return {
    what,
    limit: `≤ ${Number(limit.toFixed(2))} ${unit}`,
    measured: `${value.toFixed(digits)} ${unit}`,
    isMet: value <= limit,
  }
}

const unmeasured = (what: string, limit: string): Target => ({
  what,
  limit,
  measured: undefined,
  isMet: false,
})

/** How much of the million that the target is about. */
const partOf = (result: ManyResult | undefined) => Math.min(1, (result?.live ?? 1e6) / 1e6)

const growth = (result: SlowLinksResult | undefined) => result && result.peak - result.idle

const countsOf = (result: ManyResult | undefined) =>
  result === undefined
    ? 'many images'
    : `${result.live.toLocaleString('en')} live and ${result.expired.toLocaleString('en')} expired images`
