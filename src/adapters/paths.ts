import type { AdapterName } from '../config-values.ts'

/** Where the adapters are that have addresses outside the server's own. */
const PATHS: Readonly<Partial<Record<AdapterName, RegExp>>> = { picgo: /^\/upload$/, plain: /^\/[^/]*$/ }

/** Whether one of these adapters is at an address, as a request has it. */
export function isAdapterPath(url: string, names: readonly AdapterName[]): boolean {
  const [path = ''] = url.split('?')
  return names.some((name) => PATHS[name]?.test(path))
}
