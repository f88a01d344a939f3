import type { IncomingHttpHeaders } from 'node:http'

/** What of a request's headers the model's server may see, besides those about the body and the key. */
const PASSED_ON = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'user-agent',
  'idempotency-key',
  'traceparent',
  'tracestate',
  // Which app a request comes from, as OpenRouter and gateways like it have it.
  'http-referer',
  'x-title',
  'x-client-request-id',
])
const PASSED_ON_PREFIXES = ['openai-', 'anthropic-', 'x-stainless-']
/** Who pays: not for a caller to say where the operator's key is used. */
const OF_ACCOUNT = new Set(['openai-organization', 'openai-project'])

/** What of an answer's headers is about the connection, or about the model's server as a site (RFC 9110, section 7.6.1). */
const DROPPED = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  ...[
    'proxy-authenticate',
    'www-authenticate',
    'set-cookie',
    'set-cookie2',
    'alt-svc',
    'strict-transport-security',
  ],
  ...['server', 'via', 'date', 'nel', 'report-to', 'reporting-endpoints', 'vary', 'x-content-type-options'],
  ...['ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset', 'public-key-pins', 'clear-site-data'],
])
/** What tells a proxy before us what to do, such as to serve another file in place of the answer. */
const OF_PROXIES = ['x-accel-', 'x-sendfile', 'x-lighttpd-']
const DROPPED_PREFIXES = ['access-control-', 'x-layover-', ...OF_PROXIES]

/** How a caller's key came: as OpenAI's clients send it, or as Anthropic's do. */
export interface Credentials {
  readonly key: string
  readonly scheme: 'bearer' | 'x-api-key'
}

export interface RequestHeaderOptions {
  readonly credentials: Credentials
  /** Whether the key is the operator's, not the caller's own. */
  readonly isOperators: boolean
}

/** The headers of a request to the model's server: few, by name, and the key. No cookie, no address of the caller. */
export function requestHeaders(
  headers: IncomingHttpHeaders,
  { credentials: { key, scheme }, isOperators }: RequestHeaderOptions,
): Record<string, string> {
  const passed = Object.entries(headers).flatMap(([name, value]) =>
    isPassedOn(name) && !(isOperators && OF_ACCOUNT.has(name)) && value !== undefined
      ? [[name, String(value)] as const]
      : [],
  )
  const ofKey = scheme === 'bearer' ? { authorization: `Bearer ${key}` } : { 'x-api-key': key }
  return { ...Object.fromEntries(passed), ...ofKey }
}

function isPassedOn(name: string): boolean {
  return PASSED_ON.has(name) || PASSED_ON_PREFIXES.some((prefix) => name.startsWith(prefix))
}

/** The headers of an answer for the client: those that are about what is answered. Its own request id is ours; the other's is beside it. */
export function answerHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | string[]> {
  const ofConnection = String(headers.connection ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
  const passed = Object.entries(headers).flatMap(([name, value]) => {
    const isDropped = DROPPED.has(name) || DROPPED_PREFIXES.some((prefix) => name.startsWith(prefix))
    if (value === undefined || isDropped || ofConnection.includes(name)) return []
    return [[name === 'x-request-id' ? 'x-upstream-request-id' : name, value] as const]
  })
  return {
    'cache-control': 'no-store',
    ...Object.fromEntries(passed),
    'x-content-type-options': 'nosniff',
    // Else nginx would hold tokens back until there are many.
    'x-accel-buffering': 'no',
  }
}
