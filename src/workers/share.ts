import type { Config } from '../config.ts'

/** Bytes that a worker may take in any case: at full speed it has some 300 MB, however many there are, and with less it would refuse uploads. */
const LEAST_MEMORY = 512 * 1024 ** 2

/**
 * The configuration of one of `workers`: what is set for the machine, divided among them, rounded up. The one place for that.
 *
 * Not divided is what they count together (quotas, rates), nor free space: each looks at the disk before it takes an upload, but does not know
 * what those of the others still have to bring.
 */
export function shareOf(config: Config): Config {
  const { workers, maxConnections, maxConnectionsPerAddress, maxConcurrentUploads } = config
  const { maxMemory, cacheSize, vision } = config
  // 0, for no limit, stays what it is.
  const share = (whole: number) => Math.ceil(whole / workers)
  return Object.freeze({
    ...config,
    maxConnections: share(maxConnections),
    maxConnectionsPerAddress: share(maxConnectionsPerAddress),
    maxConcurrentUploads: share(maxConcurrentUploads),
    cacheSize: share(cacheSize),
    vision: { ...vision, maxConcurrent: share(vision.maxConcurrent) },
    maxMemory: Math.max(share(maxMemory), Math.min(maxMemory, LEAST_MEMORY)),
  })
}
