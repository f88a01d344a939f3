import type { FastifyRequest } from 'fastify'
import { describe, expect, test } from 'vitest'
import { readOptions } from '../../src/intake/options.ts'

const server = { lifetime: 100, maxLifetime: 200 }

/** How long an image lives that a key with this limit uploads. */
function lifetimeOf(maxLifetime: number | undefined, expiresIn?: string, limits = server): number {
  const apiKey = { id: 'a', name: 'a', maxLifetime }
  const request = { query: { expires_in: expiresIn }, headers: {}, apiKey } as unknown as FastifyRequest
  return readOptions(request, new Map(), limits).lifetime
}

describe('the life that a key allows its images', () => {
  test('shortens the default', () => {
    expect(lifetimeOf(undefined)).toBe(100)
    expect(lifetimeOf(50)).toBe(50)
    expect(lifetimeOf(50, undefined, { lifetime: Infinity, maxLifetime: Infinity })).toBe(50)
  })

  test('does not lengthen it, nor what the server allows', () => {
    expect(lifetimeOf(150)).toBe(100)
    expect(() => lifetimeOf(500, '201')).toThrow(/at most 200\./)
  })

  test('is the longest that may be asked for', () => {
    expect(lifetimeOf(150, '150')).toBe(150)
    expect(() => lifetimeOf(150, '151')).toThrow(/at most 150\./)
    expect(lifetimeOf(undefined, '200')).toBe(200)
  })
})
