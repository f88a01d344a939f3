import type { Config } from '../config.ts'

/** Bytes that a worker may take in any case: with less it would refuse uploads while it does next to nothing. */
export const LEAST_MEMORY = 256 * 1024 ** 2

/**
 * The configuration of one of `workers`: what is set for the machine, divided among them, rounded up. The one place for that.
 *
 * Not divided is what they count together (quotas, rates), and what each may do in vain without harm to the others (free space: each looks
 * at the disk itself before it takes an upload).
 */
export function shareOf(config: Config): Config {
  const { workers, maxConcurrentUploads, maxMemory } = config
  // 0, for no limit, stays what it is.
  const share = (whole: number) => Math.ceil(whole / workers)
  return Object.freeze({
    ...config,
    maxConcurrentUploads: share(maxConcurrentUploads),
    maxMemory: Math.max(share(maxMemory), Math.min(maxMemory, LEAST_MEMORY)),
  })
}
