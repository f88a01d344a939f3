/** What sizes and durations are counted in, as settings, options and tables write them. */

export const SIZE_UNITS = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 }
export const DURATION_UNITS = { s: 1, m: 60, h: 3600, d: 86_400 }

/** A number of bytes for people: 820 B, 1.4 MB. */
export function sizeText(bytes: number): string {
  const [unit, factor] = Object.entries(SIZE_UNITS).findLast(([, factor]) => bytes >= factor) ?? ['B', 1]
  return `${(bytes / factor).toFixed(factor === 1 ? 0 : 1)} ${unit}`
}
