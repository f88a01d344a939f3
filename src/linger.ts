import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** How long a client may go on sending a body that was refused, in milliseconds. */
const LINGER_TIME = 3000

/** How long a client has to read why its body is not read on, in milliseconds. */
const FAREWELL_TIME = 500

/** How long a client that asked whether to send its body may take to begin without having been told to, in milliseconds. */
const EAGER_TIME = 1000

export interface LingerOptions {
  /** Whether the client waits to be told to send its body. */
  readonly isHeldBack: boolean
  /** Whether the body costs too much to be read at all. */
  readonly isCostly: boolean
}

/**
 * An answer to a request whose body is not wanted: the text at once, then no end until the client has stopped sending or
 * the time is up.
 *
 * Closing a connection while data is still coming in makes the kernel reset it, and a reset can overtake the answer: the client
 * would see a broken connection instead of the reason. The whole text is announced by Content-Length, so nobody waits for it.
 */
export function lingering(raw: IncomingMessage, text: string, options: LingerOptions): Readable {
  return Readable.from(
    (async function* () {
      yield Buffer.from(text)
      if (options.isCostly) return void (await sleep(FAREWELL_TIME))
      raw.unpipe()
      raw.resume()
      if (!options.isHeldBack || (await begins(raw))) await bodyDiscarded(raw)
    })(),
    { objectMode: false },
  )
}

async function begins(raw: IncomingMessage): Promise<boolean> {
  const signal = AbortSignal.timeout(EAGER_TIME)
  return Promise.race([once(raw, 'data', { signal }), once(raw, 'close', { signal })]).then(
    () => !raw.destroyed,
    () => false,
  )
}

async function bodyDiscarded(raw: IncomingMessage): Promise<void> {
  // The end, a reset and the time limit are all the same here.
  await finished(raw, { signal: AbortSignal.timeout(LINGER_TIME) }).catch(() => {})
}
