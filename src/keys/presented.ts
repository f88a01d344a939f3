import type { FastifyRequest } from 'fastify'

/** Where a key may stand besides `Authorization: Bearer`, which is looked at everywhere. */
export type KeyPlace = 'password' | 'x-api-key' | 'query'

/** How a client sends its key there. */
const WAYS: Readonly<Record<KeyPlace, string>> = {
  password: 'the key as the password of HTTP Basic (curl -u :<key>)',
  'x-api-key': 'the header "X-API-Key: <key>"',
  query: '?key=<key> behind the address',
}

/** The ways to send a key to these places, in words, without the one that is for everywhere. */
export function waysOf(places: readonly KeyPlace[]): string[] {
  return places.map((place) => WAYS[place])
}

/** What a 401 asks for besides the header that belongs to its code: some clients send a password only when asked. */
export function challengeOf(places: readonly KeyPlace[]): Record<string, string> {
  return places.includes('password')
    ? { 'www-authenticate': 'Bearer realm="layover", Basic realm="layover"' }
    : {}
}

/**
 * The key that a request presents, in its header or in one of `places`, the first of which counts. Libraries log a request's headers
 * and address at their most talkative; from here on the key is in neither, and in none of the places it was not looked for.
 */
export function takeKey(request: FastifyRequest, places: readonly KeyPlace[] = []): string | undefined {
  const { headers } = request.raw
  const { authorization = '', 'x-api-key': apiKey } = headers
  headers.authorization = undefined
  if (apiKey !== undefined) headers['x-api-key'] = undefined
  const bearer = /^bearer +(\S+) *$/i.exec(authorization)?.[1]
  if (places.length === 0) return bearer
  const query = places.includes('query') ? takeQueryKey(request) : undefined
  if (bearer !== undefined) return bearer
  const password = places.includes('password') ? passwordIn(authorization) : undefined
  const header = places.includes('x-api-key') ? keyOr(apiKey) : undefined
  return password ?? header ?? query
}

/** A password is all behind the first colon (RFC 7617, section 2); the name before it is anybody's. */
function passwordIn(authorization: string): string | undefined {
  const encoded = /^basic +([\w+/=-]+) *$/i.exec(authorization)?.[1]
  if (encoded === undefined) return undefined
  const pair = Buffer.from(encoded, 'base64').toString()
  return keyOr(pair.slice(pair.indexOf(':') + 1))
}

function takeQueryKey({ raw, query }: FastifyRequest): string | undefined {
  const members = query as Record<string, unknown>
  const { key } = members
  if (key === undefined) return undefined
  delete members.key
  const [path, rest = ''] = (raw.url ?? '').split(/\?(.*)/s)
  const others = rest.split('&').filter((part) => decodedName(part) !== 'key')
  raw.url = others.length === 0 ? path : `${path}?${others.join('&')}`
  return keyOr(key)
}

/** As the query's own parser reads it. What cannot be decoded is not shown. */
function decodedName(part: string): string {
  const [name = ''] = part.split('=')
  try {
    return decodeURIComponent(name.replaceAll('+', ' '))
  } catch {
    return 'key'
  }
}

function keyOr(value: unknown): string | undefined {
  return typeof value === 'string' && /^\S+$/.test(value) ? value : undefined
}
