import { randomBytes } from 'node:crypto'
import { ConfigError } from '../config.ts'
import { type Problem, problemWith } from '../errors.ts'
import type { ApiKey, Keyring, KeyringOptions } from '../keys.ts'
import { idOf } from './known.ts'
import { recent } from './recent.ts'
import { slots } from './slots.ts'

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

/**
 * The keys that an OpenAI-compatible gateway accepts: those with which `GET {url}/models` is answered 2xx. Fails closed: whatever is
 * neither that nor 401 or 403, a redirect too, is the problem `auth_unavailable`. Throws a `ConfigError` for a gateway that
 * shows its models to everybody.
 */
export async function openUpstream(
  url: string,
  { onNote, now }: Pick<Required<KeyringOptions>, 'onNote' | 'now'>,
): Promise<Keyring> {
  const accepted = recent({ most: REMEMBERED, milliseconds: ACCEPTED_FOR * 1000, now })
  const refused = recent({ most: REMEMBERED, milliseconds: REFUSED_FOR * 1000, now })
  const asked = new Map<string, Promise<boolean>>()
  const gateway = selective(url)

  /** One question for all who present the same key at once. */
  function ask(id: string, key: string): Promise<boolean> {
    const running = asked.get(id)
    if (running !== undefined) return running
    const question = gateway
      .accepts(key)
      .then((isAccepted) => {
        ;(isAccepted ? accepted : refused).add(id)
        return isAccepted
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
    isShared: () => true,
    async find(presented) {
      // Other characters cannot be sent in a header, and their error would show the key.
      if (presented.length > LONGEST_KEY || !/^[\x21-\x7e]+$/.test(presented)) return undefined
      const id = idOf(presented)
      if (refused.has(id)) return undefined
      return accepted.has(id) || (await ask(id, presented)) ? apiKey(id) : undefined
    },
  }
}

function apiKey(id: string): ApiKey {
  return { id, name: `upstream-${id.slice(0, 8)}` }
}

/** A gateway whose yes counts only once it has said no to a key that nobody has: some show their models to everybody. */
function selective(url: string) {
  const slot = slots({ atOnce: AT_ONCE, waiting: WAITING })
  let isProven = false

  async function isAccepted(key: string): Promise<boolean> {
    const signal = AbortSignal.timeout(TIMEOUT)
    try {
      using _ = await slot(signal)
      return await isAnsweredWith(`${url}/models`, key, signal)
    } catch (cause) {
      throw problemWith('auth_unavailable', { cause })
    }
  }

  async function prove(): Promise<void> {
    if (isProven) return
    if (await isAccepted(`sk-nobody-${randomBytes(24).toString('base64url')}`)) {
      const cause = new ConfigError(`AUTH_UPSTREAM_URL: ${url}/models lets everybody in, whatever the key`)
      throw problemWith('auth_unavailable', { cause })
    }
    isProven = true
  }

  async function accepts(key: string): Promise<boolean> {
    if (!(await isAccepted(key))) return false
    await prove()
    return true
  }
  return { accepts, prove }
}

async function isAnsweredWith(url: string, key: string, signal: AbortSignal): Promise<boolean> {
  // A redirect is not followed: the key is for this address alone, and where it leads may let everybody in.
  const headers = { authorization: `Bearer ${key}` }
  const answer = await fetch(url, { headers, redirect: 'manual', signal }).catch((cause) => {
    throw new Error(`${url} ${signal.aborted ? 'does not answer' : 'cannot be reached'}`, { cause })
  })
  // Not read: a list of models may be long, and nothing in it matters.
  await answer.body?.cancel().catch(() => {})
  if (answer.ok) return true
  if (answer.status === 401 || answer.status === 403) return false
  throw new Error(`${url} answered ${answer.status}`)
}
