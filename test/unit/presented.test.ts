import type { FastifyRequest } from 'fastify'
import { expect, test } from 'vitest'
import { type KeyPlace, takeKey } from '../../src/keys/presented.ts'

/** A request with its address and headers, as Fastify has it. */
function requestOf(url: string, headers: Record<string, string> = {}) {
  const query = Object.fromEntries(new URLSearchParams(url.split('?')[1] ?? ''))
  return { raw: { url, headers }, query } as unknown as FastifyRequest
}

const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`

test.each<[string, Record<string, string>, KeyPlace[], string | undefined, string]>([
  ['/upload?key=secret', {}, ['query'], 'secret', '/upload'],
  ['/upload?a=b&key=secret&c=d', {}, ['query'], 'secret', '/upload?a=b&c=d'],
  ['/upload?k%65y=secret&a=b', {}, ['query'], 'secret', '/upload?a=b'],
  ['/upload?key=secret', { authorization: 'Bearer other' }, ['query'], 'other', '/upload'],
  ['/upload?key=', {}, ['query'], undefined, '/upload'],
  ['/upload?key=secret', { 'x-api-key': 'other' }, ['x-api-key', 'query'], 'other', '/upload'],
  ['/x', { 'x-api-key': 'secret' }, ['query'], undefined, '/x'],
  ['/x', { 'x-api-key': 'secret' }, [], undefined, '/x'],
  ['/x', { authorization: basic('name:se:cret') }, ['password'], 'se:cret', '/x'],
  ['/x', { authorization: basic('name:secret') }, [], undefined, '/x'],
  ['/x', { authorization: 'Basic §' }, ['password'], undefined, '/x'],
])(
  'the key of %s with %j, looked for in %j, is %s, and nothing is left of it',
  (url, headers, places, key, left) => {
    const request = requestOf(url, headers)
    expect(takeKey(request, places)).toBe(key)
    expect(request.raw.url).toBe(left)
    expect(JSON.stringify(request)).not.toMatch(/se:?cret|Bearer|Basic/)
  },
)
