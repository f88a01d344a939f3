import { median, type Round } from './measure.ts'

/** A line on what has just been measured, so that who waits sees it go on. */
export function say(title: string, rounds: Readonly<Record<string, readonly Round[]>>): void {
  const rates = Object.entries(rounds).map(([name, all]) => {
    const rate = median(all.map(({ requestsPerSecond }) => requestsPerSecond))
    const faults = all.find(({ faults }) => faults !== '')?.faults
    return `${name} ${rate.toFixed(0)}/s${faults ? ` (${faults})` : ''}`
  })
  console.error(`${title}: ${rates.join(', ')}`)
}
