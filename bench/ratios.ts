import type { Comparison } from './compare.ts'
import { median, type Round } from './measure.ts'

/** What rounds are compared by. */
export type Measure = 'requestsPerSecond' | 'cpuMsPerRequest'

/**
 * How often one contestant's figure has the other's in it: the median of the rounds' ratios, as what else the machine does in a round hits
 * both. A round in which something went wrong does not count. NaN where there is none that does, or one of them did not take part.
 */
export function ratio(
  { rounds }: Comparison,
  [one, other]: readonly [string, string],
  measure: Measure = 'requestsPerSecond',
): number {
  const [ours = [], theirs = []] = [rounds[one], rounds[other]]
  const figureOf = (round: Round | undefined) => (round?.faults === '' ? round[measure] : Number.NaN)
  const ratios = ours.map((round, i) => figureOf(round) / figureOf(theirs[i]))
  return median(ratios.filter(Number.isFinite))
}

export function medianOf(rounds: readonly Round[], value: (round: Round) => number): number {
  return median(rounds.map(value).filter(Number.isFinite))
}
