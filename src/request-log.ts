import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ErrorCode } from './errors.ts'
import { wasTooSlow } from './http/connection/read-rate.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Bytes of the image that came, once it is whole. */
    taken: number | undefined
    /** Why the request was refused, or what failed. */
    failure: ErrorCode | undefined
    /**
     * The limit that was met, where the server was too busy: the name of its setting, if it has
     * one.
     */
    limitMet: string | undefined
  }
  interface FastifyContextConfig {
    /** What the log shows for the path, where that is a client's name for its file. */
    readonly shownAs?: string
  }
}

/** An `onRequest` hook: one line a request, when its connection is done with it. `docs/operations.md` has its fields, whose names stay. */
export function logAtEnd(request: FastifyRequest, reply: FastifyReply, done = () => {}): void {
  reply.header('x-request-id', request.id)
  const { socket } = request.raw
  const before = socket.bytesWritten
  reply.raw.once('close', () => {
    const line = {
      method: request.method,
      path: (request.is404 ? undefined : request.routeOptions.config.shownAs) ?? shownPath(request.url),
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime),
      key: request.apiKey?.name,
      bytes: request.taken ?? sentOf(request, reply, socket.bytesWritten - before),
      code: request.failure,
      limit: request.limitMet,
    }
    if (reply.raw.writableFinished) request.log.info(line, 'request')
    else if (wasTooSlow(socket)) request.log.info(line, 'request, client read more slowly than MIN_READ_RATE')
    else request.log.info(line, 'request, client gone before the end of the answer')
  })
  done()
}

/** Bytes of an image that were sent; of one that was broken off, as many as left at most. None for what is no image. */
export function sentOf({ method }: FastifyRequest, reply: FastifyReply, written: number): number | undefined {
  if (!String(reply.getHeader('content-type')).startsWith('image/')) return undefined
  if (method === 'HEAD') return 0
  const length = Number(reply.getHeader('content-length'))
  return reply.raw.writableFinished ? length : Math.min(length, written)
}

/** What a link has before its token. */
const LINKS = ['/delete/', '/incoming/']

/**
 * An image's name or id, or either as part of something longer. Also one that has lost its end:
 * whatever has all of the random part, which ends with the 41st character.
 */
const NAME = /[0-9a-z]{19}[0-9a-z]{22,}/gi

/**
 * A path without what lets somebody in. The query may hold a token or a signature. A mangled link, to delete or to upload to, may have
 * its token anywhere, and its `/` or `?` encoded. An image's name is all that it takes to fetch the image, so only what it
 * says and 20 of its 130 random bits are shown: enough to find it by. A name that is encoded in part, once or more often, is still one to whoever decodes it.
 */
export function shownPath(url: string): string {
  const whole = url.includes('%') ? decoded(url) : url
  const query = whole.indexOf('?')
  const path = query < 0 ? whole : whole.slice(0, query)
  const link = LINKS.find((start) => path.includes(start))
  if (link !== undefined) return `${link}…`
  return path.replace(NAME, (name) => `${name.slice(0, 19)}…`)
}

/** Printable ASCII behind one or more percent-encodings (`%71`, `%2571`). */
const ENCODED = /%(?:25)*([2-6][0-9a-f]|7[0-9a-e])/gi

/** With what is encoded as its characters. Never throws: all else, such as `%zz` or half of a UTF-8 sequence, stays as it came. */
function decoded(url: string): string {
  return url.replace(ENCODED, (_encoded, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}
