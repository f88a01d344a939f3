import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { LONGEST_LIFETIME } from './name.ts'

export const SIZE_UNITS = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 }
export const DURATION_UNITS = { s: 1, m: 60, h: 3600, d: 86_400 }
const PIXEL_UNITS = { MP: 1e6 }

/** Every environment variable that Layover reads, with its default. `.env.example` says what each is for. */
const variables = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.string().default('8080').transform(port),
  PUBLIC_URL: z.string().transform(publicUrl).optional(),
  UPLOAD_PATH: z.string().default('/uploads').transform(uploadPath),
  DATA_DIR: z.string().default('./data'),
  SECRET: z.string().transform(secret).optional(),
  API_KEYS: z.string().transform(apiKeys).optional(),
  AUTH_UPSTREAM_URL: z.string().transform(publicUrl).optional(),
  MAX_FILE_SIZE: z.string().default('20MB').transform(quantity(SIZE_UNITS)),
  MAX_PIXELS: z.string().default('100MP').transform(quantity(PIXEL_UNITS)),
  LIFETIME: z.string().default('72h').transform(lifetime),
  MAX_LIFETIME: z.string().transform(lifetime).optional(),
  SWEEP_INTERVAL: z.string().default('60s').transform(orOff(timer)),
  STORE: z.enum(['local', 's3', 'memory']).default('local'),
  S3_ENDPOINT: z.string().transform(publicUrl).optional(),
  S3_REGION: z.string().default('us-east-1'),
  S3_BUCKET: z.string().transform(bucketName).optional(),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z.string().optional(),
  S3_FORCE_PATH_STYLE: z.string().default('true').transform(yesOrNo),
  S3_PREFIX: z.string().default('images/').transform(keyPrefix),
  S3_CREATE_BUCKET: z.string().default('true').transform(yesOrNo),
  S3_PUBLIC_URL: z.string().transform(publicUrl).optional(),
  S3_TIMEOUT: z.string().default('60s').transform(timer),
  MIN_FREE_SPACE: z
    .string()
    .default('100MB')
    .transform(orOff(quantity(SIZE_UNITS))),
  QUOTA: z
    .string()
    .default('0')
    .transform(orOff(quantity(SIZE_UNITS))),
  QUOTA_WINDOW: z.string().default('24h').transform(quantity(DURATION_UNITS)),
  RATE_LIMIT: z.string().default('0').transform(rate),
  REDIS_URL: z.string().transform(redisUrl).optional(),
  TRUST_PROXY: z.string().transform(proxies).optional(),
  CORS_ORIGIN: z.string().transform(origins).optional(),
  UPLOAD_TIMEOUT: z.string().default('5m').transform(timer),
  IDLE_TIMEOUT: z.string().default('30s').transform(timer),
  STOP_TIMEOUT: z.string().default('20s').transform(timer),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
})

/** The names of all variables, as the documentation's test needs them. */
export const variableNames: readonly string[] = Object.keys(variables.shape)

export type Config = Readonly<ReturnType<typeof toConfig>>

/** Start-up cannot go on; `message` lists every fault, each with the variable's name. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}

/**
 * Reads the configuration. Sizes become bytes, durations seconds (`Infinity` for "never"), switches 0 when off.
 *
 * An empty variable counts as unset. Throws a `ConfigError` that lists all faults at once.
 */
export function loadConfig(environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const read = variables.safeParse(given)
  const issues = read.error?.issues ?? []
  const faults = [
    ...issues.map(({ path, message }) => `${path.join('.')}: ${message}`),
    ...contradictions(given),
  ]
  if (!read.success || faults.length > 0) {
    throw new ConfigError(
      `The configuration cannot be used:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
    )
  }
  return Object.freeze(toConfig(read.data))
}

/** Takes variables from `.env`, if there is one, for what the environment itself does not set. */
export function readDotEnv(): void {
  try {
    process.loadEnvFile()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

type Values = z.infer<typeof variables>

/** What is wrong between variables that may each be right, whatever else is wrong. */
function contradictions(given: Readonly<Record<string, unknown>>): string[] {
  const { data } = variables.pick({ LIFETIME: true, MAX_LIFETIME: true }).safeParse(given)
  const isTooLong = data !== undefined && data.LIFETIME > (data.MAX_LIFETIME ?? data.LIFETIME)
  return [
    ...(isTooLong ? ['LIFETIME: is longer than MAX_LIFETIME; lower it or raise MAX_LIFETIME'] : []),
    ...(given.API_KEYS !== undefined && given.AUTH_UPSTREAM_URL !== undefined
      ? ['AUTH_UPSTREAM_URL: cannot be used with API_KEYS; set one of them']
      : []),
    ...(given.STORE === 's3' ? missingForS3(given) : []),
  ]
}

function missingForS3(given: Readonly<Record<string, unknown>>): string[] {
  const [id, secret] = ['S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY']
  const hasNoKey = given[id] === undefined && given[secret] === undefined
  return [
    ...(given.S3_BUCKET === undefined ? ['S3_BUCKET: is needed with STORE=s3'] : []),
    // On AWS itself, the machine's role may do.
    ...(hasNoKey && given.S3_ENDPOINT !== undefined ? [`${id}: is needed with S3_ENDPOINT`] : []),
    ...[[id, secret] as const, [secret, id] as const]
      .filter(([missing, other]) => !hasNoKey && given[missing] === undefined && given[other] !== undefined)
      .map(([missing, other]) => `${missing}: is needed with ${other}`),
  ]
}

function toConfig(values: Values) {
  return {
    host: values.HOST,
    port: values.PORT,
    /** Without a trailing slash; unset means `http://localhost` and the port. */
    publicUrl: values.PUBLIC_URL,
    /** With a leading and without a trailing slash. */
    uploadPath: values.UPLOAD_PATH,
    dataDir: values.DATA_DIR,
    /** At least 32 bytes; unset means the one kept in `dataDir`. */
    secret: values.SECRET,
    /** Unset, and `authUpstreamUrl` too, means the keys kept in `dataDir`. */
    apiKeys: values.API_KEYS,
    /** Without a trailing slash. */
    authUpstreamUrl: values.AUTH_UPSTREAM_URL,
    maxFileSize: values.MAX_FILE_SIZE,
    maxPixels: values.MAX_PIXELS,
    lifetime: values.LIFETIME,
    maxLifetime: values.MAX_LIFETIME ?? values.LIFETIME,
    sweepInterval: values.SWEEP_INTERVAL,
    store: values.STORE,
    /** What the store is told if it is S3. */
    s3: {
      /** Unset means AWS. */
      endpoint: values.S3_ENDPOINT,
      region: values.S3_REGION,
      bucket: values.S3_BUCKET ?? '',
      /** Unset means those that AWS's own tools would use. */
      credentials: credentials(values),
      forcePathStyle: values.S3_FORCE_PATH_STYLE,
      /** Empty or with a slash at its end. */
      prefix: values.S3_PREFIX,
      createBucket: values.S3_CREATE_BUCKET,
      timeout: values.S3_TIMEOUT,
    },
    /** Base of the keys where images are fetched from the bucket, or a CDN on it, without us; no trailing slash. */
    s3PublicUrl: values.STORE === 's3' ? values.S3_PUBLIC_URL : undefined,
    minFreeSpace: values.MIN_FREE_SPACE,
    /** Bytes that a key may upload within `quotaWindow` seconds; 0 for any number. */
    quota: values.QUOTA,
    quotaWindow: values.QUOTA_WINDOW,
    /** Requests of a key, and refused ones of an address without; a count of 0 for any number. */
    rateLimit: values.RATE_LIMIT,
    /** Where usage is counted; unset means in `dataDir`. */
    redisUrl: values.REDIS_URL,
    /** Addresses or networks whose `X-Forwarded-For` is believed; unset means none. */
    trustProxy: values.TRUST_PROXY,
    /** Origins whose pages may use the API; `*` for all, unset for none. */
    corsOrigin: values.CORS_ORIGIN,
    uploadTimeout: values.UPLOAD_TIMEOUT,
    idleTimeout: values.IDLE_TIMEOUT,
    stopTimeout: values.STOP_TIMEOUT,
    logLevel: values.LOG_LEVEL,
  }
}

function credentials({ S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey }: Values) {
  return accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined
}

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

/** Seconds that a timer of Node can count: beyond 24 days and some hours it would fire at once. */
function timer(text: string, context: z.RefinementCtx): number {
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

function port(text: string, context: z.RefinementCtx): number {
  const isPort = /^\d{1,5}$/.test(text) && Number(text) <= 65_535
  return isPort ? Number(text) : refuse(context, `"${text}" is not a port from 0 to 65535`)
}

/** Reads a duration in seconds, `Infinity` for never. */
export function lifetime(text: string, context: z.RefinementCtx): number {
  if (text === 'never') return Number.POSITIVE_INFINITY
  const seconds = quantity(DURATION_UNITS)(text, context)
  return seconds > LONGEST_LIFETIME
    ? refuse(context, `"${text}" is too long; for no end, say never`)
    : seconds
}

function publicUrl(text: string, context: z.RefinementCtx): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isWeb = url !== undefined && ['http:', 'https:'].includes(url.protocol)
  if (isWeb && !url.username && !url.password && !/[?#]/.test(text)) return url.href.replace(/\/+$/, '')
  // It may hold a password, so it is not repeated.
  return refuse(context, 'is not an address like https://images.example.com, without user, "?" or "#"')
}

/** Addresses and networks, so that nobody else can say where a request comes from. */
function proxies(text: string, context: z.RefinementCtx): string[] {
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

function redisUrl(text: string, context: z.RefinementCtx): string {
  if (/^rediss?:\/\//.test(text) && URL.canParse(text)) return text
  // It may hold a password, so it is not repeated.
  return refuse(context, 'is not an address like redis://localhost:6379')
}

function origins(text: string, context: z.RefinementCtx): '*' | string[] {
  if (text === '*') return '*'
  const list = text.split(',').map((item) => item.trim())
  if (list.every((item) => URL.canParse(item) && new URL(item).origin === item)) return list
  return refuse(context, `"${text}" is neither * nor a list of origins like https://app.example.com`)
}

function yesOrNo(text: string, context: z.RefinementCtx): boolean {
  if (['true', 'false'].includes(text)) return text === 'true'
  return refuse(context, `"${text}" is neither true nor false`)
}

/** The rules of AWS, which other servers do not widen by much. */
function bucketName(text: string, context: z.RefinementCtx): string {
  if (/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(text)) return text
  return refuse(context, `"${text}" is not a name of 3 to 63 small letters, digits, "-" and "."`)
}

/** With a slash at its end; a slash alone is for no prefix, as an empty variable counts as unset. */
function keyPrefix(text: string, context: z.RefinementCtx): string {
  if (text === '/') return ''
  const isPath = /^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*\/?$/.test(text)
  // Dots alone are a way up to whoever reads a URL.
  if (isPath && !text.split('/').some((part) => part === '.' || part === '..'))
    return text.replace(/\/?$/, '/')
  return refuse(context, `"${text}" is not a prefix like images/ (or / for none)`)
}

/** What the server's other addresses begin with. */
const OWN_PATHS = new Set(['api', 'v1', 'delete', 'docs', 'openapi.json', 'healthz', 'readyz', 'robots.txt'])

function uploadPath(text: string, context: z.RefinementCtx): string {
  const isPath = /^(\/[A-Za-z0-9._~-]+)+\/?$/.test(text) && !/\/\.\.?(\/|$)/.test(text)
  if (isPath && OWN_PATHS.has(text.split('/')[1] ?? ''))
    return refuse(context, `"${text}" is where the server has addresses of its own`)
  if (isPath) return text.replace(/\/$/, '')
  return refuse(context, `"${text}" is not a path like /uploads`)
}

function secret(text: string, context: z.RefinementCtx): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.length >= 32) return bytes
  return refuse(context, 'has fewer than 32 bytes; make one with: openssl rand -hex 32')
}

function apiKeys(text: string, context: z.RefinementCtx) {
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
  return keys
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}
