/** What a fetcher asks for, in its order. `robots` is `/robots.txt`, `head` a GET of the first bytes alone. */
export type Ask = 'robots' | 'HEAD' | 'head' | 'GET'

/** How it is known what a fetcher does: its maker says so, its code does, operators have seen it, or nobody knows and it is assumed. */
export type Basis = 'documented' | 'code' | 'seen' | 'assumed'

/** Somebody who fetches images for a model: what its requests look like, and what it needs of an answer. */
export interface Fetcher {
  /** Stays the same: receipts and metrics have it. At most 12 characters. */
  readonly id: string
  readonly name: string
  /** Its `User-Agent`, as far as is known; none for one that sends none. */
  readonly agent: string | undefined
  /** What tells its `User-Agent` from all others; none for one that cannot be told. */
  readonly pattern: RegExp | undefined
  /** Headers it sends besides. */
  readonly headers: Readonly<Record<string, string>>
  readonly asks: readonly Ask[]
  /** The name by which it looks for itself in robots.txt. */
  readonly robots?: string
  readonly version: '1.0' | '1.1'
  /** Whether it goes where a redirect leads. */
  readonly follows: boolean
  /** Headers without which, or with others, it takes no image. */
  readonly needs: readonly ('content-type' | 'content-length')[]
  /** Seconds that it waits for an image. */
  readonly patience: number
  readonly basis: Basis
  /** Where it says so, and when that was read. */
  readonly source: string
  readonly asOf: string
}

/** Where nothing is known, what is hardest to please is assumed. */
const USUAL = {
  headers: { Accept: '*/*' },
  asks: ['GET'],
  version: '1.1',
  follows: false,
  needs: ['content-type'],
  patience: 10,
  asOf: '2026-11',
} as const

/** Libraries ask for compression, which makes no image smaller. */
const COMPRESSED = { 'Accept-Encoding': 'gzip, deflate' }

/**
 * Who fetches images for models, as far as is known: what receipts name fetchers by, what `doctor` asks as, and what
 * `test/e2e/fetchers.test.ts` plays against the server, from which `docs/fetchers.md` is made.
 */
export const FETCHERS: readonly Fetcher[] = [
  {
    ...USUAL,
    id: 'openai',
    name: 'OpenAI',
    agent: 'OpenAI Image Downloader',
    pattern: /^OpenAI Image Downloader/,
    // One user's log has a call end with a timeout after three seconds.
    patience: 3,
    basis: 'seen',
    source: 'operators’ logs; danny-avila/LibreChat#5101',
  },
  {
    ...USUAL,
    id: 'azure',
    name: 'Azure OpenAI',
    agent: 'IPS/1.0',
    pattern: /^IPS\//,
    patience: 3,
    basis: 'seen',
    source: 'operators’ logs',
  },
  {
    ...USUAL,
    id: 'anthropic',
    name: 'Anthropic',
    agent:
      'Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)',
    pattern: /\bClaude-User\b/,
    asks: ['robots', 'GET'],
    robots: 'Claude-User',
    basis: 'seen',
    source: 'privacy.claude.com, article 8896518; vercel/ai#6279',
  },
  {
    ...USUAL,
    id: 'google',
    name: 'Google',
    agent: 'Mozilla/5.0 (compatible; Google-Extended)',
    pattern: /\bGoogle/,
    asks: ['robots', 'GET'],
    robots: 'Google-Extended',
    basis: 'assumed',
    source: 'ai.google.dev on robots.txt; its User-Agent is not published',
  },
  {
    ...USUAL,
    id: 'runway',
    name: 'Runway',
    agent: 'RunwayML API/1.0',
    pattern: /^RunwayML API\//,
    asks: ['HEAD', 'GET'],
    needs: ['content-type', 'content-length'],
    basis: 'documented',
    source: 'docs.dev.runwayml.com/assets/inputs',
  },
  {
    ...USUAL,
    id: 'vllm',
    name: 'vLLM',
    agent: 'vLLM/0.11.0',
    pattern: /^vLLM\//,
    headers: { ...COMPRESSED, Accept: '*/*' },
    follows: true,
    needs: [],
    patience: 5,
    basis: 'code',
    source: 'vllm-project/vllm, vllm/connections.py',
  },
  {
    ...USUAL,
    id: 'litellm',
    name: 'LiteLLM',
    agent: 'litellm/1.80.0',
    pattern: /^litellm\//,
    headers: { ...COMPRESSED, Accept: '*/*' },
    follows: true,
    // It goes by the name's extension where the type says nothing.
    needs: [],
    patience: 5,
    basis: 'code',
    source: 'BerriAI/litellm, prompt_templates/image_handling.py',
  },
  {
    ...USUAL,
    id: 'go',
    name: 'gateways in Go',
    agent: 'Go-http-client/1.1',
    pattern: /^Go-http-client\//,
    headers: { 'Accept-Encoding': 'gzip' },
    asks: ['HEAD', 'GET'],
    follows: true,
    patience: 30,
    basis: 'code',
    source: 'songquanpeng/one-api, common/image/image.go',
  },
  {
    ...USUAL,
    id: 'python',
    name: 'gateways in Python',
    agent: 'python-requests/2.32.5',
    pattern: /^python-requests\/|^python-httpx\/|\baiohttp\//,
    headers: { ...COMPRESSED, Accept: '*/*' },
    follows: true,
    basis: 'assumed',
    source: 'the libraries’ own User-Agents',
  },
  {
    ...USUAL,
    id: 'node',
    name: 'gateways in Node',
    agent: 'node',
    pattern: /^node$|^undici$|^node-fetch|^axios\/|^ai-sdk\//,
    headers: { ...COMPRESSED, Accept: '*/*', 'Accept-Language': '*', 'Sec-Fetch-Mode': 'cors' },
    follows: true,
    basis: 'assumed',
    source: 'the libraries’ own User-Agents',
  },
  {
    ...USUAL,
    id: 'head-first',
    name: 'who reads the beginning first',
    agent: undefined,
    pattern: undefined,
    asks: ['head', 'GET'],
    needs: ['content-type', 'content-length'],
    basis: 'assumed',
    source: 'readers of width and height alone',
  },
  {
    ...USUAL,
    id: 'http10',
    name: 'HTTP/1.0 without a Host',
    agent: undefined,
    pattern: undefined,
    headers: {},
    version: '1.0',
    needs: ['content-type', 'content-length'],
    basis: 'assumed',
    source: 'old libraries and proxies',
  },
  {
    ...USUAL,
    id: 'silent',
    name: 'no User-Agent',
    agent: undefined,
    pattern: undefined,
    headers: {},
    basis: 'seen',
    source: 'QuantumNous/new-api#2546',
  },
]

/** What whoever is not known is called. */
export const OTHER = 'other'

const KNOWN = FETCHERS.flatMap(({ id, pattern }) => (pattern === undefined ? [] : [{ id, pattern }]))

/** All that `fetcherOf` can answer. */
export const FETCHER_IDS: readonly string[] = [...KNOWN.map(({ id }) => id), OTHER]

/** The known fetcher that calls itself so, or `other`. Anybody can call themselves anything. */
export function fetcherOf(agent: string | undefined): string {
  if (agent === undefined) return OTHER
  return KNOWN.find(({ pattern }) => pattern.test(agent))?.id ?? OTHER
}
