import { DURATION_UNITS, type RateLimit, SIZE_UNITS } from '../config-values.ts'
import type { KeyRecord } from './record.ts'

const HEAD = ['NAME', 'KEY', 'CREATED', 'EXPIRES', 'QUOTA', 'RATE', 'MAX LIFETIME', 'ID']

/** The keys as a table for people, one a line; `now` in Unix milliseconds. */
export function tableOf(keys: readonly KeyRecord[], now: number): string {
  const rows = [HEAD, ...keys.map((key) => row(key, now))]
  const widths = HEAD.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)))
  const lines = rows.map((cells) => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}

function row({ name, last4, created, expires, quota, rate, maxLifetime, sha256 }: KeyRecord, now: number) {
  const isOver = expires !== undefined && Date.parse(expires) <= now
  return [
    name,
    `…${last4}`,
    minute(created),
    expires === undefined ? 'never' : `${minute(expires)}${isOver ? ' (over)' : ''}`,
    quota === undefined ? '-' : withUnit(quota, SIZE_UNITS),
    rate === undefined ? '-' : rateText(rate),
    maxLifetime === undefined ? '-' : withUnit(maxLifetime, DURATION_UNITS),
    sha256.slice(0, 12),
  ]
}

const minute = (time: string): string => `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')}Z`

const rateText = ({ count, seconds }: RateLimit): string =>
  count === 0 ? 'none' : `${count}/${withUnit(seconds, DURATION_UNITS)}`

/** In the largest unit that needs no fraction, as the command would take it. */
function withUnit(value: number, units: Readonly<Record<string, number>>): string {
  if (value === 0) return 'none'
  const [name, factor] = Object.entries(units).findLast(([, factor]) => value % factor === 0) ?? ['', 1]
  return `${value / factor}${name}`
}
