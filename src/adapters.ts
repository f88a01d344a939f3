import type { Adapter, AdapterParts } from './adapters/adapter.ts'
import { chevereto } from './adapters/chevereto.ts'
import { lsky } from './adapters/lsky.ts'
import { picgo } from './adapters/picgo.ts'
import { plain } from './adapters/plain.ts'
import type { AdapterName } from './config-values.ts'

const ADAPTERS: Readonly<Record<AdapterName, Adapter>> = { chevereto, lsky, picgo, plain }

/** Where the adapters are that have addresses outside the server's own. */
const PATHS: Readonly<Partial<Record<AdapterName, RegExp>>> = { picgo: /^\/upload$/, plain: /^\/[^/]*$/ }

/** Takes uploads as the clients of other programs send them, of those that ADAPTERS names, and answers as these programs do. */
export function adapters(parts: AdapterParts): void {
  for (const name of parts.deps.config.adapters) ADAPTERS[name](parts)
}

/** Whether one of these adapters is at an address, as a request has it. */
export function isAdapterPath(url: string, names: readonly AdapterName[]): boolean {
  const [path = ''] = url.split('?')
  return names.some((name) => PATHS[name]?.test(path))
}
