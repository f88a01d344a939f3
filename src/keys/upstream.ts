import { randomBytes } from 'node:crypto'
import { readIdentity, userId } from '../auth/keys/upstream-identity.ts'
import { BoundedMap } from '../bounded-map.ts'
import { type Config, ConfigError } from '../config.ts'
import { semaphore } from '../core/semaphore.ts'
import { type Problem, problemWith } from '../errors.ts'
import type { ApiKey, Keyring, KeyringOptions } from '../keys.ts'
import { idOf } from './known.ts'
import { recent } from './recent.ts'

/** Milliseconds until the gateway must have answered, the wait for a slot included. */
const TIMEOUT = 5000
/** Seconds for which an answer of the gateway counts. */
const ACCEPTED_FOR = 60
const REFUSED_FOR = 10
/** Answers remembered, of each of the two kinds: guesses cannot push out the keys that are right. */
const REMEMBERED = 5000
/** Questions to the gateway at once, and waiting. */
const AT_ONCE = 32
const WAITING = 256
/** No gateway's keys are longer. */
const LONGEST_KEY = 512

export interface UpstreamOptions extends Pick<Required<KeyringOptions>, 'onNote' | 'now'> {
  /** Where an accepted answer says whose the key is; without it, each key is a user of its own. */
  readonly identity?: Config['authUpstreamIdentity']
}

/** A key that the gateway has accepted. */
interface Accepted {
  readonly key: ApiKey
  /** Unix milliseconds; from then on the gateway is asked again. */
  readonly until: number
}

/**
 * The keys that an OpenAI-compatible gateway accepts: those with which `GET {url}/models`, or the
 * path that `identity` names, is answered 2xx. Fails closed: whatever is neither that nor 401 or
 * 403, a redirect too, is the problem `auth_unavailable`; so is a 2xx without the identity that was
 * asked for. Throws a `ConfigError` for a gateway that answers 2xx to everybody.
 */
export async function openUpstream(
  url: string,
  { onNote, now, identity }: UpstreamOptions,
): Promise<Keyring> {
  /**
   * By the digest of the key as it was presented. An entry stays when its time is over, until the
   * gateway refuses the key.
   */
  const accepted = new BoundedMap<Accepted>(REMEMBERED)
  const refused = recent({ most: REMEMBERED, milliseconds: REFUSED_FOR * 1000, now })
  const asked = new Map<string, Promise<ApiKey | undefined>>()
  const gateway = selective(url + (identity?.path ?? '/models'))

  /** One question for all who present the same key at once. */
  function ask(id: string, presented: string): Promise<ApiKey | undefined> {
    const running = asked.get(id)
    if (running !== undefined) return running
    const question = gateway
      .whose(
        presented,
        async (answer) =>
          apiKey(identity === undefined ? id : userId(url, await readIdentity(answer, identity))),
        accepted.has(id) ? 'accepted before' : 'new',
      )
      .then((key) => {
        if (key !== undefined) accepted.set(id, { key, until: now() + ACCEPTED_FOR * 1000 })
        else {
          accepted.delete(id)
          refused.add(id)
        }
        return key
      })
      .finally(() => asked.delete(id))
    asked.set(id, question)
    return question
  }

  await gateway.prove().catch((problem: Problem) => {
    if (problem.cause instanceof ConfigError) throw problem.cause
    onNote(`AUTH_UPSTREAM_URL: ${(problem.cause as Error).message}; nobody can upload until that changes`)
  })
  return {
    alwaysLooksUp: (presented) => accepted.has(idOf(presented)),
    isShared: () => true,
    async find(presented) {
      // Other characters cannot be sent in a header, and their error would show the key.
      if (presented.length > LONGEST_KEY || !/^[\x21-\x7e]+$/.test(presented)) return undefined
      const id = idOf(presented)
      if (refused.has(id)) return undefined
      const known = accepted.get(id)
      return known !== undefined && now() < known.until ? known.key : ask(id, presented)
    },
  }
}

function apiKey(id: string): ApiKey {
  return { id, name: `upstream-${id.slice(0, 8)}` }
}

/**
 * Whose question waits. Keys that the gateway has accepted before have half of the places to
 * themselves, so that guesses cannot keep them out.
 */
type Line = 'accepted before' | 'new'

/** Reads what is needed of an accepted answer. */
type Reader<T> = (answer: Response) => T | Promise<T>

/**
 * A gateway whose yes counts only once it has said no to a key that nobody has: some show their
 * models to everybody.
 */
function selective(url: string) {
  const slots = semaphore({
    slots: AT_ONCE,
    share: () => AT_ONCE / 2,
    queue: { length: WAITING, ofKey: () => (AT_ONCE + WAITING) / 2 },
    refusal: () => new Error('too many questions are waiting for an answer'),
  })
  let isProven = false

  async function ask<T>(key: string, read: Reader<T>, line: Line = 'new'): Promise<T | undefined> {
    const signal = AbortSignal.timeout(TIMEOUT)
    try {
      using _slot = await slots.acquire(line, signal)
      return await acceptedAnswer(url, { key, signal, read })
    } catch (cause) {
      throw problemWith('auth_unavailable', { cause })
    }
  }

  async function prove(): Promise<void> {
    if (isProven) return
    const nobody = `sk-nobody-${randomBytes(24).toString('base64url')}`
    if (await ask(nobody, () => true)) {
      const cause = new ConfigError(`AUTH_UPSTREAM_URL: ${url} lets everybody in, whatever the key`)
      throw problemWith('auth_unavailable', { cause })
    }
    isProven = true
  }

  /**
   * What `read` makes of the gateway's answer to a key; undefined if the gateway refuses the key.
   */
  async function whose<T>(key: string, read: Reader<T>, line: Line): Promise<T | undefined> {
    const found = await ask(key, read, line)
    if (found !== undefined) await prove()
    return found
  }
  return { whose, prove }
}

interface Question<T> {
  readonly key: string
  readonly signal: AbortSignal
  readonly read: Reader<T>
}

async function acceptedAnswer<T>(url: string, { key, signal, read }: Question<T>): Promise<T | undefined> {
  const failure = (cause: unknown) =>
    new Error(`${url} ${signal.aborted ? 'does not answer' : 'cannot be reached'}`, { cause })
  // A redirect is not followed: the key is for this address alone, and where it leads may let everybody in.
  const headers = { authorization: `Bearer ${key}` }
  const answer = await fetch(url, { headers, redirect: 'manual', signal }).catch((cause) => {
    throw failure(cause)
  })
  try {
    if (answer.ok) return await read(answer)
  } catch (error) {
    throw signal.aborted ? failure(error) : error
  } finally {
    // A list of models may be long, and nothing in it matters.
    await answer.body?.cancel().catch(() => {})
  }
  if (answer.status === 401 || answer.status === 403) return undefined
  throw new Error(`${url} answered ${answer.status}`)
}
