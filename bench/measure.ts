import type { Contestant } from './contestants/contestant.ts'
import { memoryOfTree, resetPeaks, usageOf } from './process.ts'
import { type Load, type LoadResult, runWrk } from './wrk.ts'

/** What one round of one contestant showed. */
export interface Round {
  readonly requests: number
  readonly seconds: number
  readonly requestsPerSecond: number
  /** CPU time of the server, in milliseconds. */
  readonly cpuMsPerRequest: number
  readonly p99Ms: number
  /** Of the server, in MB. */
  readonly peakMemory: number
  readonly generatorShare: number
  /** The busiest process' part of the server's CPU time. */
  readonly busiest: number
  /** What went wrong, in words; empty if nothing. */
  readonly faults: string
  /** Bytes of answers. */
  readonly bytes: number
}

/** Puts a load on a server with wrk and measures what the server takes for it. */
export async function measure(server: Contestant, load: Omit<Load, 'url'>): Promise<Round> {
  return measureWith(server, () => runWrk({ ...load, url: server.url }))
}

/** The same with any other generator. */
export async function measureWith(server: Contestant, run: () => Promise<LoadResult>): Promise<Round> {
  await resetPeaks(server.pid)
  const before = await usageOf(server.pid)
  const result = await run()
  const after = await usageOf(server.pid)
  const cpu = after.cpuSeconds - before.cpuSeconds
  const each = [...after.each].map(([pid, seconds]) => seconds - (before.each.get(pid) ?? 0))
  return {
    ...result,
    requestsPerSecond: result.requests / result.seconds,
    cpuMsPerRequest: (cpu / result.requests) * 1000,
    peakMemory: await memoryOfTree(server.pid, 'VmHWM'),
    busiest: Math.max(...each) / cpu,
  }
}

/** Of an even number of values, the upper one of the two in the middle. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
