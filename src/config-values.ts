import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { LONGEST_LIFETIME } from './name.ts'
import { DURATION_UNITS, SIZE_UNITS } from './units.ts'

/** What the texts of settings mean. Each reader answers with the value, or adds an issue that says what to write. */

export { DURATION_UNITS, SIZE_UNITS }
export const PIXEL_UNITS = { MP: 1e6 }

/** Reads a whole number of the given units; a number alone is in none of them, and refused. */
export function quantity(units: Readonly<Record<string, number>>) {
  return (text: string, context: z.RefinementCtx): number => {
    const [, digits, unit = ''] = /^(\d+)\s*([A-Za-z]+)$/.exec(text.trim()) ?? []
    const factor = Object.entries(units).find(([name]) => name.toLowerCase() === unit.toLowerCase())?.[1]
    const value = Number(digits) * (factor ?? Number.NaN)
    if (Number.isSafeInteger(value) && value > 0) return value
    const example = `10${Object.keys(units)[0]}`
    return refuse(
      context,
      `"${text}" is not a number above 0 with a unit (${Object.keys(units).join(', ')}), like ${example}`,
    )
  }
}

/** Seconds that a signed link can live: what S3 servers allow. */
export function linkLifetime(text: string, context: z.RefinementCtx): number {
  const seconds = quantity(DURATION_UNITS)(text, context)
  return seconds > 7 * DURATION_UNITS.d ? refuse(context, `"${text}" is too long; at most 7d`) : seconds
}

/** Seconds that a timer of Node can count: beyond 24 days and some hours it would fire at once. */
export function timer(text: string, context: z.RefinementCtx): number {
  const seconds = quantity(DURATION_UNITS)(text, context)
  return seconds > 24 * DURATION_UNITS.d ? refuse(context, `"${text}" is too long; at most 24d`) : seconds
}

export function orOff(read: (text: string, context: z.RefinementCtx) => number) {
  return (text: string, context: z.RefinementCtx): number => (text.trim() === '0' ? 0 : read(text, context))
}

/** At most `count` of something in any `seconds`; a `count` of 0 means no limit. */
export interface RateLimit {
  readonly count: number
  readonly seconds: number
}

/** Reads a rate like 100/1m, or 0 for none. */
export function rate(text: string, context: z.RefinementCtx): RateLimit {
  if (text.trim() === '0') return { count: 0, seconds: 1 }
  const [, count = '', duration] = /^(\d{1,9})\s*\/\s*(\S.*)$/.exec(text.trim()) ?? []
  if (duration === undefined || Number(count) === 0)
    return refuse(context, `"${text}" is not a rate like 100/1m, or 0 for none`)
  return { count: Number(count), seconds: timer(duration, context) }
}

/** Reads a whole number; 0 for no limit. */
export function count(text: string, context: z.RefinementCtx): number {
  return /^\d{1,9}$/.test(text)
    ? Number(text)
    : refuse(context, `"${text}" is not a whole number, or 0 for none`)
}

/** Reads a share of something, in whole percent. */
export function percentage(text: string, context: z.RefinementCtx): number {
  const [, digits] = /^(\d{1,3})\s*%$/.exec(text.trim()) ?? []
  const value = Number(digits ?? 0)
  return value >= 1 && value <= 100
    ? value
    : refuse(context, `"${text}" is not a percentage from 1% to 100%, like 50%`)
}

/** Reads a number of processes; `auto` for as many as can run at the same time here. */
export function workers(text: string, context: z.RefinementCtx): number {
  if (text === 'auto') return availableParallelism()
  return /^[1-9]\d{0,2}$/.test(text)
    ? Number(text)
    : refuse(context, `"${text}" is not a number from 1 to 999, or auto`)
}

export function port(text: string, context: z.RefinementCtx): number {
  const isPort = /^\d{1,5}$/.test(text) && Number(text) <= 65_535
  return isPort ? Number(text) : refuse(context, `"${text}" is not a port from 0 to 65535`)
}

/** Where to listen: an address or name, and a port. */
export function address(text: string, context: z.RefinementCtx): { host: string; port: number } {
  const [, host = '', digits = ''] = /^(.+):(\d{1,5})$/.exec(text) ?? []
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  const isHost = bare === host ? /^[A-Za-z0-9.-]+$/.test(host) : isIP(bare) === 6
  if (isHost && Number(digits) <= 65_535) return { host: bare, port: Number(digits) }
  return refuse(context, `"${text}" is not an address with a port, like 127.0.0.1:9464 or [::1]:9464`)
}

/** Reads a duration in seconds, `Infinity` for never. */
export function lifetime(text: string, context: z.RefinementCtx): number {
  if (text === 'never') return Number.POSITIVE_INFINITY
  const seconds = quantity(DURATION_UNITS)(text, context)
  return seconds > LONGEST_LIFETIME
    ? refuse(context, `"${text}" is too long; for no end, say never`)
    : seconds
}

export function publicUrl(text: string, context: z.RefinementCtx): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isWeb = url !== undefined && ['http:', 'https:'].includes(url.protocol)
  if (isWeb && !url.username && !url.password && !/[?#]/.test(text)) return url.href.replace(/\/+$/, '')
  // It may hold a password, so it is not repeated.
  return refuse(context, 'is not an address like https://images.example.com, without user, "?" or "#"')
}

/** Addresses and networks, so that nobody else can say where a request comes from. */
export function proxies(text: string, context: z.RefinementCtx): string[] {
  const list = text.split(',').map((item) => item.trim())
  const isName = (item: string) => ['loopback', 'linklocal', 'uniquelocal'].includes(item)
  const isAddress = (item: string) => {
    const [address = '', bits] = item.split('/')
    // Nobody means to trust everybody.
    return isIP(address) > 0 && (bits === undefined || (ipaddr.isValidCIDR(item) && Number(bits) > 0))
  }
  if (list.every((item) => isName(item) || isAddress(item))) return list
  return refuse(context, `"${text}" is not a list of addresses or networks like 10.0.0.0/8`)
}

export function redisUrl(text: string, context: z.RefinementCtx): string {
  if (/^rediss?:\/\//.test(text) && URL.canParse(text)) return text
  // It may hold a password, so it is not repeated.
  return refuse(context, 'is not an address like redis://localhost:6379')
}

/** What may be fetched from though it is not public: a host by its name, or a range of addresses; on port 80 and 443, or on this one. */
export interface Allowance {
  readonly host?: string
  /** Like 10.0.0.0/8. */
  readonly range?: string
  readonly port?: number
}

/** Reads a list of names, addresses and networks, each with a port if another than 80 and 443 is meant. */
export function allowances(text: string, context: z.RefinementCtx): Allowance[] {
  const list = text.split(',').map((item) => allowance(item.trim()))
  if (list.every((one) => one !== undefined)) return list
  return refuse(
    context,
    `"${text}" is not a list like images.internal, 10.0.0.0/8, 127.0.0.1:8080, [::1]:8080`,
  )
}

function allowance(item: string): Allowance | undefined {
  const [, inBrackets, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(item) ?? []
  const what = inBrackets ?? plain ?? item
  // Neither has a host's name nor an address without a zone.
  if (/[\s@%?#\\]/.test(what)) return undefined
  const port = digits === undefined ? {} : { port: Number(digits) }
  if (port.port === 0 || (port.port ?? 0) > 65_535) return undefined
  if (isIP(what) > 0) return { range: `${what}/${isIP(what) === 4 ? 32 : 128}`, ...port }
  if (what.includes('/')) {
    // Nobody means to open everything.
    const isRange = isIP(what.split('/')[0] ?? '') > 0 && ipaddr.isValidCIDR(what)
    return isRange && ipaddr.parseCIDR(what)[1] > 0 ? { range: what, ...port } : undefined
  }
  const host = URL.parse(`http://${what}`)?.hostname.replace(/\.$/, '')
  const isName = host !== undefined && isIP(host) === 0 && /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/.test(host)
  return isName && inBrackets === undefined ? { host, ...port } : undefined
}

export function origins(text: string, context: z.RefinementCtx): '*' | string[] {
  if (text === '*') return '*'
  const list = text.split(',').map((item) => item.trim())
  if (list.every((item) => URL.canParse(item) && new URL(item).origin === item)) return list
  return refuse(context, `"${text}" is neither * nor a list of origins like https://app.example.com`)
}

/** An address, or off. */
export function addressOrOff(text: string, context: z.RefinementCtx): string | false {
  return text === 'off' ? false : publicUrl(text, context)
}

export function yesOrNo(text: string, context: z.RefinementCtx): boolean {
  if (['true', 'false'].includes(text)) return text === 'true'
  return refuse(context, `"${text}" is neither true nor false`)
}

/** The rules of AWS, which other servers do not widen by much. */
export function bucketName(text: string, context: z.RefinementCtx): string {
  if (/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(text)) return text
  return refuse(context, `"${text}" is not a name of 3 to 63 small letters, digits, "-" and "."`)
}

/** With a slash at its end; a slash alone is for no prefix, as an empty variable counts as unset. */
export function keyPrefix(text: string, context: z.RefinementCtx): string {
  if (text === '/') return ''
  const isPath = /^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*\/?$/.test(text)
  // Dots alone are a way up to whoever reads a URL.
  if (isPath && !text.split('/').some((part) => part === '.' || part === '..'))
    return text.replace(/\/?$/, '/')
  return refuse(context, `"${text}" is not a prefix like images/ (or / for none)`)
}

/** Programs whose clients can be served in their own way. */
export const ADAPTER_NAMES = ['chevereto', 'lsky', 'picgo', 'plain'] as const
export type AdapterName = (typeof ADAPTER_NAMES)[number]

/** Reads a list of programs, or `all`. */
export function adapterNames(text: string, context: z.RefinementCtx): AdapterName[] {
  if (text === 'all') return [...ADAPTER_NAMES]
  const list = [...new Set(text.split(',').map((item) => item.trim()))]
  const isName = (item: string): item is AdapterName => ADAPTER_NAMES.some((name) => name === item)
  if (list.every(isName)) return list
  return refuse(context, `"${text}" is neither all nor a list of ${ADAPTER_NAMES.join(', ')}`)
}

/** What the server's other addresses begin with. */
const OWN_PATHS = new Set([
  'api',
  'v1',
  'delete',
  'incoming',
  'docs',
  'openapi.json',
  'healthz',
  'readyz',
  'robots.txt',
])

export function uploadPath(text: string, context: z.RefinementCtx): string {
  const isPath = /^(\/[A-Za-z0-9._~-]+)+\/?$/.test(text) && !/\/\.\.?(\/|$)/.test(text)
  if (isPath && OWN_PATHS.has(text.split('/')[1] ?? ''))
    return refuse(context, `"${text}" is where the server has addresses of its own`)
  if (isPath) return text.replace(/\/$/, '')
  return refuse(context, `"${text}" is not a path like /uploads`)
}

export function secret(text: string, context: z.RefinementCtx): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.length >= 32) return bytes
  return refuse(context, 'has fewer than 32 bytes; make one with: openssl rand -hex 32')
}

export function apiKeys(text: string, context: z.RefinementCtx) {
  const keys = text.split(',').map((item) => {
    const colon = item.indexOf(':')
    // Without a colon, all of it is the key.
    return { name: item.slice(0, Math.max(colon, 0)).trim(), key: item.slice(colon + 1).trim() }
  })
  const isDistinct = new Set(keys.map(({ name }) => name)).size === keys.length
  const isNamed = keys.every(({ name, key }) => /^[\w.@-]+$/.test(name) && !/\s/.test(key))
  const isLong = keys.every(({ key }) => key.length >= 16)
  // The text holds secrets, so no message repeats any of it.
  if (!isNamed || !isDistinct) return refuse(context, 'is not a list like name:key,other-name:other-key')
  if (!isLong)
    return refuse(context, 'has a key of fewer than 16 characters; make one with: openssl rand -hex 24')
  const names = namesOfOne(keys, ({ key }) => key)
  if (names) return refuse(context, `has one key under two names, ${names}; give each its own`)
  return keys
}

/**
 * The names of the first two entries that are the same in this part, like "one and other".
 * Undefined if all differ.
 */
export function namesOfOne<T extends { readonly name: string }>(
  entries: readonly T[],
  partOf: (entry: T) => string,
): string | undefined {
  const nameOf = new Map<string, string>()
  for (const entry of entries) {
    const other = nameOf.get(partOf(entry))
    if (other !== undefined) return `${other} and ${entry.name}`
    nameOf.set(partOf(entry), entry.name)
  }
  return undefined
}

/**
 * Where a gateway says whose a key is: in the answer of this path, in a header or in a member of
 * its JSON. `member` lists the names on the way to it.
 */
export type IdentitySource = { readonly path: string } & (
  | { readonly header: string }
  | { readonly member: readonly string[] }
)

/**
 * Reads `header:<name>` or `json:<name>.<name>`, with `@<path>` if the gateway is to be asked there
 * instead of at /models.
 */
export function identitySource(text: string, context: z.RefinementCtx): IdentitySource {
  const [, kind, name = '', path = '/models'] =
    /^(header|json):([\w.-]+)(?:@((?:\/[\w.~-]+)+))?$/.exec(text.trim()) ?? []
  const member = name.split('.')
  const isPath = !path.split('/').some((part) => part === '.' || part === '..')
  if (kind === 'header' && isPath) return { path, header: name.toLowerCase() }
  if (kind === 'json' && isPath && !member.includes('')) return { path, member }
  return refuse(context, `"${text}" is neither like header:x-user-id nor like json:info.user_id@/key/info`)
}

/** A key of another server, as it can stand in a header. */
export function bearer(text: string, context: z.RefinementCtx): string {
  // It is not repeated.
  return /^[\x21-\x7e]+$/.test(text)
    ? text
    : refuse(context, 'has spaces or characters that no header can hold')
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}
