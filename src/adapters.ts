import type { Adapter, AdapterParts } from './adapters/adapter.ts'
import { chevereto } from './adapters/chevereto.ts'
import { lsky } from './adapters/lsky.ts'
import { picgo } from './adapters/picgo.ts'
import { plain } from './adapters/plain.ts'
import type { AdapterName } from './config-values.ts'

const ADAPTERS: Readonly<Record<AdapterName, Adapter>> = { chevereto, lsky, picgo, plain }

/** Takes uploads as the clients of other programs send them, of those that ADAPTERS names, and answers as these programs do. */
export function adapters(parts: AdapterParts): void {
  for (const name of parts.deps.config.adapters) ADAPTERS[name](parts)
}
