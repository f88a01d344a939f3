import { createReadStream } from 'node:fs'
import type { FastifyRequest } from 'fastify'
import { Problem, problem, problemWith } from '../errors.ts'
import { openBody } from '../intake/body.ts'
import { isJson } from '../intake/incoming.ts'
import { Keeper } from '../keeper.ts'
import type { Spool } from '../spool.ts'
import { JsonOutliner, type Outline, type Span } from './json-outline.ts'

/** Bytes of a request besides its long strings, which are all that is held in memory of it. */
const LARGEST_OUTLINE = 4 * 1024 ** 2
/** Bytes that are read of a spooled body at once. */
const PIECE = 64 * 1024
/** What a right body looks like, for those who sent another. */
export const EXAMPLE = '{"model":"…","messages":[…]}'

/** A request's body, whole, as it came. Disposing of it removes its temp file, if it has one. */
export interface KeptBody extends AsyncDisposable {
  /** Bytes. */
  readonly size: number
  /** Reads a part of it, in pieces that are the reader's own. */
  read(span: Span): AsyncIterable<Buffer>
}

export interface KeptRequest {
  readonly body: KeptBody
  readonly outline: Outline
}

/** An `onRequest` hook that refuses, before it is read, a body that says it is too large. */
export function refuseTooLargeRequest(maxBody: number) {
  return async ({ headers }: FastifyRequest): Promise<void> => {
    if (Number(headers['content-length'] ?? 0) > maxBody)
      throw problem('vision_body_too_large', { limit: maxBody })
  }
}

/**
 * Reads a request of JSON to its end: what is in it, and, on the disk if it is large, its bytes. Rejects with a `Problem`, or a `StoreError`
 * if there is no room, and then has left nothing.
 */
export async function readRequest(
  request: FastifyRequest,
  { spool, maxBody }: { spool: Spool; maxBody: number },
): Promise<KeptRequest> {
  if (!isJson(request)) throw problem('json_expected', { example: EXAMPLE })
  const keeper = new Keeper(spool, undefined)
  const outliner = new JsonOutliner(LARGEST_OUTLINE)
  try {
    for await (const piece of openBody(request, maxBody)) {
      outliner.push(piece)
      await keeper.push(piece)
    }
    const outline = outliner.end()
    return { outline, body: kept(await keeper.end()) }
  } catch (error) {
    await keeper.discard()
    throw explained(error, maxBody)
  }
}

function kept(whole: Awaited<ReturnType<Keeper['end']>>): KeptBody {
  const { bytes, file, size } = whole
  let isGone = false
  return {
    size,
    async [Symbol.asyncDispose]() {
      isGone = true
      await whole[Symbol.asyncDispose]()
    },
    async *read({ start, end }) {
      if (start >= end) return
      // The memory is another request's as soon as the body is disposed of, as it is when the client leaves.
      if (isGone) throw new Error('the body has been disposed of')
      if (bytes) yield Buffer.from(bytes.subarray(start, end))
      else if (file) yield* createReadStream(file.path, { start, end: end - 1, highWaterMark: PIECE })
    },
  }
}

function explained(error: unknown, maxBody: number): unknown {
  const isTooMuch =
    error instanceof RangeError || (error instanceof Problem && error.code === 'body_too_large')
  if (isTooMuch) return problemWith('vision_body_too_large', { cause: error }, { limit: maxBody })
  if (error instanceof SyntaxError)
    return problemWith('json_malformed', { cause: error }, { example: EXAMPLE })
  return error
}
