import { z } from 'zod'
import {
  adapterNames,
  address,
  addressOrOff,
  allowances,
  apiKeys,
  bearer,
  bucketName,
  count,
  DURATION_UNITS,
  identitySource,
  keyPrefix,
  lifetime,
  linkLifetime,
  origins,
  orOff,
  PIXEL_UNITS,
  percentage,
  port,
  proxies,
  publicUrl,
  quantity,
  rate,
  redisUrl,
  SIZE_UNITS,
  secret,
  timer,
  uploadPath,
  workers,
  yesOrNo,
} from './config-values.ts'
import { DEFAULT_DATA_DIR } from './environment.ts'

export { readDotEnv } from './environment.ts'

/** Every environment variable that Layover reads, with its default. `.env.example` says what each is for. */
const variables = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.string().default('8080').transform(port),
  PUBLIC_URL: z.string().transform(publicUrl).optional(),
  UPLOAD_PATH: z.string().default('/uploads').transform(uploadPath),
  DATA_DIR: z.string().default(DEFAULT_DATA_DIR),
  SECRET: z.string().transform(secret).optional(),
  API_KEYS: z.string().transform(apiKeys).optional(),
  AUTH_UPSTREAM_URL: z.string().transform(publicUrl).optional(),
  AUTH_UPSTREAM_IDENTITY: z.string().transform(identitySource).optional(),
  MAX_FILE_SIZE: z.string().default('20MB').transform(quantity(SIZE_UNITS)),
  MAX_PIXELS: z.string().default('100MP').transform(quantity(PIXEL_UNITS)),
  LIFETIME: z.string().default('72h').transform(lifetime),
  MAX_LIFETIME: z.string().transform(lifetime).optional(),
  PRESIGN_LIFETIME: z.string().default('15m').transform(orOff(linkLifetime)),
  MAX_OPEN_LINKS: z.string().default('1000').transform(count),
  SWEEP_INTERVAL: z.string().default('60s').transform(orOff(timer)),
  STORE: z.enum(['local', 's3', 'memory']).default('local'),
  S3_ENDPOINT: z.string().transform(publicUrl).optional(),
  S3_REGION: z.string().default('us-east-1'),
  S3_BUCKET: z.string().transform(bucketName).optional(),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z.string().optional(),
  S3_FORCE_PATH_STYLE: z.string().default('true').transform(yesOrNo),
  S3_PREFIX: z.string().default('images/').transform(keyPrefix),
  S3_INCOMING_PREFIX: z.string().default('incoming/').transform(keyPrefix),
  S3_PRESIGN_ENDPOINT: z.string().transform(addressOrOff).optional(),
  S3_PRESIGN_ACCESS_KEY_ID: z.string().optional(),
  S3_PRESIGN_SECRET_ACCESS_KEY: z.string().optional(),
  S3_CREATE_BUCKET: z.string().default('true').transform(yesOrNo),
  S3_PUBLIC_URL: z.string().transform(publicUrl).optional(),
  S3_TIMEOUT: z.string().default('60s').transform(timer),
  MIN_FREE_SPACE: z
    .string()
    .default('100MB')
    .transform(orOff(quantity(SIZE_UNITS))),
  WORKERS: z.string().default('1').transform(workers),
  MAX_CONNECTIONS: z.string().default('10000').transform(count),
  MAX_CONNECTIONS_PER_ADDRESS: z.string().default('1000').transform(count),
  MAX_CONCURRENT_UPLOADS: z.string().default('256').transform(count),
  MAX_KEY_SHARE: z.string().default('50%').transform(percentage),
  MAX_MEMORY: z
    .string()
    .default('1GB')
    .transform(orOff(quantity(SIZE_UNITS))),
  CACHE_SIZE: z
    .string()
    .default('64MB')
    .transform(orOff(quantity(SIZE_UNITS))),
  URL_FETCH: z.enum(['on', 'off']).default('on'),
  URL_FETCH_ALLOW: z.string().transform(allowances).optional(),
  URL_FETCH_TIMEOUT: z.string().default('20s').transform(timer),
  FIT_WORKERS: z.string().default('2').transform(count),
  FIT_TIMEOUT: z.string().default('20s').transform(timer),
  FIT_MEMORY: z.string().default('512MB').transform(quantity(SIZE_UNITS)),
  VISION_UPSTREAM_URL: z.string().transform(publicUrl).optional(),
  VISION_UPSTREAM_KEY: z.string().transform(bearer).optional(),
  VISION_IMAGES: z.enum(['inline', 'url']).default('inline'),
  VISION_REHOST: z.enum(['on', 'off']).default('off'),
  VISION_TIMEOUT: z.string().default('5m').transform(timer),
  VISION_MAX_BODY: z.string().default('128MB').transform(quantity(SIZE_UNITS)),
  VISION_MAX_CONCURRENT: z.string().default('64').transform(count),
  QUOTA: z
    .string()
    .default('0')
    .transform(orOff(quantity(SIZE_UNITS))),
  QUOTA_WINDOW: z.string().default('24h').transform(quantity(DURATION_UNITS)),
  RATE_LIMIT: z.string().default('0').transform(rate),
  REDIS_URL: z.string().transform(redisUrl).optional(),
  TRUST_PROXY: z.string().transform(proxies).optional(),
  PAGE: z.enum(['on', 'off']).default('on'),
  RECEIPTS: z.enum(['on', 'off']).default('on'),
  ADAPTERS: z.string().transform(adapterNames).optional(),
  CORS_ORIGIN: z.string().transform(origins).optional(),
  UPLOAD_TIMEOUT: z.string().default('5m').transform(timer),
  MIN_UPLOAD_RATE: z
    .string()
    .default('1KB')
    .transform(orOff(quantity(SIZE_UNITS))),
  MIN_READ_RATE: z
    .string()
    .default('1KB')
    .transform(orOff(quantity(SIZE_UNITS))),
  IDLE_TIMEOUT: z.string().default('30s').transform(timer),
  STOP_TIMEOUT: z.string().default('20s').transform(timer),
  METRICS_ADDRESS: z.string().transform(address).optional(),
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
    ...(given.AUTH_UPSTREAM_IDENTITY !== undefined && given.AUTH_UPSTREAM_URL === undefined
      ? ['AUTH_UPSTREAM_IDENTITY: is for a gateway; set AUTH_UPSTREAM_URL, too']
      : []),
    ...(given.VISION_REHOST === 'on' && given.URL_FETCH === 'off'
      ? ['VISION_REHOST: cannot be on with URL_FETCH=off, which fetches nothing from elsewhere']
      : []),
    ...(isOwnAddress(given.VISION_UPSTREAM_URL, given.PUBLIC_URL)
      ? ['VISION_UPSTREAM_URL: is this server’s own address (PUBLIC_URL), so that it would ask itself']
      : []),
    ...(given.STORE === 'memory' && workersIn(given) > 1
      ? ['WORKERS: must be 1 with STORE=memory, which is each process’s own']
      : []),
    ...(given.STORE === 's3' ? [...missingForS3(given), ...overlapOfPrefixes(given)] : []),
  ]
}

function isOwnAddress(upstream: unknown, own: unknown): boolean {
  const address = (text: unknown) =>
    typeof text === 'string' ? URL.parse(text)?.href.replace(/\/*$/, '/') : undefined
  const [asked, base] = [address(upstream), address(own)]
  return asked !== undefined && (asked === base || asked === `${base}v1/`)
}

function workersIn(given: Readonly<Record<string, unknown>>): number {
  return variables.pick({ WORKERS: true }).safeParse(given).data?.WORKERS ?? 1
}

const LINK_VARIABLES = variables.pick({
  S3_PREFIX: true,
  S3_INCOMING_PREFIX: true,
  S3_PRESIGN_ENDPOINT: true,
  PRESIGN_LIFETIME: true,
})

/** What arrives unchecked must not lie among the images, which the world may be able to read. */
function overlapOfPrefixes(given: Readonly<Record<string, unknown>>): string[] {
  const { data } = LINK_VARIABLES.safeParse(given)
  if (data === undefined || data.PRESIGN_LIFETIME === 0) return []
  const { S3_PREFIX: images, S3_INCOMING_PREFIX: incoming } = data
  if (images === '' && given.S3_PUBLIC_URL !== undefined && data.S3_PRESIGN_ENDPOINT !== false)
    return [
      'S3_PREFIX: must not be empty with S3_PUBLIC_URL, as the world could read uploads that nobody has checked (or set S3_PRESIGN_ENDPOINT=off)',
    ]
  // With no prefix at all, the images lie beside it.
  const isWithin = incoming === '' || (images !== '' && incoming.startsWith(images))
  return isWithin || images.startsWith(incoming)
    ? ['S3_INCOMING_PREFIX: neither it nor S3_PREFIX can lie within the other']
    : []
}

function missingForS3(given: Readonly<Record<string, unknown>>): string[] {
  const [id, secret] = ['S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY']
  const pairs = [
    [id, secret],
    ['S3_PRESIGN_ACCESS_KEY_ID', 'S3_PRESIGN_SECRET_ACCESS_KEY'],
  ] as const
  const hasNoKey = given[id] === undefined && given[secret] === undefined
  return [
    ...(given.S3_BUCKET === undefined ? ['S3_BUCKET: is needed with STORE=s3'] : []),
    // On AWS itself, the machine's role may do.
    ...(hasNoKey && given.S3_ENDPOINT !== undefined ? [`${id}: is needed with S3_ENDPOINT`] : []),
    ...pairs
      .flatMap(([first, second]) => [[first, second] as const, [second, first] as const])
      .filter(([missing, other]) => given[missing] === undefined && given[other] !== undefined)
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
    /** Where its answer says whose a key is; unset means that each key is a user of its own. */
    authUpstreamIdentity: values.AUTH_UPSTREAM_IDENTITY,
    maxFileSize: values.MAX_FILE_SIZE,
    maxPixels: values.MAX_PIXELS,
    lifetime: values.LIFETIME,
    maxLifetime: values.MAX_LIFETIME ?? values.LIFETIME,
    /** Seconds for which a link to upload to works; 0 for no such links. */
    presignLifetime: values.PRESIGN_LIFETIME,
    /** Links of a key that may be open at once; 0 for any number. */
    maxOpenLinks: values.MAX_OPEN_LINKS,
    sweepInterval: values.SWEEP_INTERVAL,
    store: values.STORE,
    /** What the store is told if it is S3. */
    s3: {
      /** Unset means AWS. */
      endpoint: values.S3_ENDPOINT,
      region: values.S3_REGION,
      bucket: values.S3_BUCKET ?? '',
      /** Unset means those that AWS's own tools would use. */
      credentials: credentials(values.S3_ACCESS_KEY_ID, values.S3_SECRET_ACCESS_KEY),
      forcePathStyle: values.S3_FORCE_PATH_STYLE,
      /** Empty or with a slash at its end. */
      prefix: values.S3_PREFIX,
      createBucket: values.S3_CREATE_BUCKET,
      timeout: values.S3_TIMEOUT,
    },
    /** How links to upload to lead to the bucket, with `STORE=s3`. */
    s3Presign: {
      /** Where clients find the server, if not at `s3.endpoint`; false for no such links, but to us. */
      endpoint: values.S3_PRESIGN_ENDPOINT,
      /** Of a key that may do no more than put objects below `prefix`; unset means those of `s3`. */
      credentials: credentials(values.S3_PRESIGN_ACCESS_KEY_ID, values.S3_PRESIGN_SECRET_ACCESS_KEY),
      /** With a slash at its end. */
      prefix: values.S3_INCOMING_PREFIX,
    },
    /** Base of the keys where images are fetched from the bucket, or a CDN on it, without us; no trailing slash. */
    s3PublicUrl: values.STORE === 's3' ? values.S3_PUBLIC_URL : undefined,
    minFreeSpace: values.MIN_FREE_SPACE,
    /** Processes that serve. */
    workers: values.WORKERS,
    /** Connections at once; 0 for any number. */
    maxConnections: values.MAX_CONNECTIONS,
    /** Connections of an address at once, of IPv6 of a /64; 0 for any number. */
    maxConnectionsPerAddress: values.MAX_CONNECTIONS_PER_ADDRESS,
    /** Uploads at once; 0 for any number. */
    maxConcurrentUploads: values.MAX_CONCURRENT_UPLOADS,
    /**
     * Percent of the slots for uploads, calls of a model and copies that one key may hold while
     * there are other keys.
     */
    maxKeyShare: values.MAX_KEY_SHARE,
    /** Bytes of the process beyond which it takes no uploads; 0 for any number. */
    maxMemory: values.MAX_MEMORY,
    /** Bytes of images that are kept in memory; 0 for none. */
    cacheSize: values.CACHE_SIZE,
    /** Images that are fetched from elsewhere. */
    urlFetch: {
      isOn: values.URL_FETCH === 'on',
      /** What may be reached besides public addresses. */
      allow: values.URL_FETCH_ALLOW ?? [],
      timeout: values.URL_FETCH_TIMEOUT,
    },
    /** Copies that fit, each made by a process of its own. */
    fit: {
      /** At once; 0 for no copies. */
      workers: values.FIT_WORKERS,
      /** Seconds for each. */
      timeout: values.FIT_TIMEOUT,
      /** Bytes for each. */
      memory: values.FIT_MEMORY,
    },
    /** Calls of a model that are passed on. */
    vision: {
      /** Without a trailing slash; unset means that none are. */
      upstreamUrl: values.VISION_UPSTREAM_URL,
      /** Unset means the caller's own. */
      upstreamKey: values.VISION_UPSTREAM_KEY,
      images: values.VISION_IMAGES,
      /** Whether images of other servers are fetched, too. */
      rehost: values.VISION_REHOST === 'on',
      /** Seconds until an answer must begin, and from one piece of it to the next. */
      timeout: values.VISION_TIMEOUT,
      /** Bytes of a request, with its images. */
      maxBody: values.VISION_MAX_BODY,
      /** Calls at once; 0 for any number. */
      maxConcurrent: values.VISION_MAX_CONCURRENT,
    },
    /** Bytes that a key may upload within `quotaWindow` seconds; 0 for any number. */
    quota: values.QUOTA,
    quotaWindow: values.QUOTA_WINDOW,
    /** Requests of a key, and missing or wrong keys of an address; a count of 0 for any number. */
    rateLimit: values.RATE_LIMIT,
    /** Where usage is counted; unset means in `dataDir`. */
    redisUrl: values.REDIS_URL,
    /** Addresses or networks whose `X-Forwarded-For` is believed; unset means none. */
    trustProxy: values.TRUST_PROXY,
    /** Whether there are pages for people with a browser. */
    page: values.PAGE,
    /** Whether it is noted who fetches images. */
    receipts: values.RECEIPTS === 'on',
    /** Programs whose clients are served in their own way. */
    adapters: values.ADAPTERS ?? [],
    /** Origins whose pages may use the API; `*` for all, unset for none. */
    corsOrigin: values.CORS_ORIGIN,
    uploadTimeout: values.UPLOAD_TIMEOUT,
    /** Bytes a second; 0 for no matter how few. */
    minUploadRate: values.MIN_UPLOAD_RATE,
    /** The same of those who read what is answered. */
    minReadRate: values.MIN_READ_RATE,
    idleTimeout: values.IDLE_TIMEOUT,
    stopTimeout: values.STOP_TIMEOUT,
    /** Where metrics are served; unset means nowhere. */
    metricsAddress: values.METRICS_ADDRESS,
    logLevel: values.LOG_LEVEL,
  }
}

function credentials(accessKeyId: string | undefined, secretAccessKey: string | undefined) {
  return accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined
}
