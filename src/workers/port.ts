import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import type { Config } from '../config.ts'
import { explainPort } from '../port-fault.ts'

/** A port that workers can listen on together. */
export interface SharedPort {
  readonly port: number
  /** Leaves it to them; to be called when they listen. */
  release(): void
}

/**
 * Keeps another Layover from the port for as long as this process lives, also while nobody listens on it: by a socket that has no file, and that
 * only one can have. Linux has such, and there are no workers elsewhere.
 */
async function claim(host: string, port: number): Promise<void> {
  const claim = createServer().listen(`\0layover ${host} ${port}`)
  await once(claim, 'listening').catch((error) => {
    throw explainPort(Object.assign(error, { port }))
  })
  claim.unref()
}

/**
 * Makes sure that nobody else has the port, as the system lets all share it that ask for that: a second server would take half of the
 * requests, unnoticed. Where any port will do, finds one, and keeps it until workers have it. Rejects with what to do if it cannot be had.
 */
export async function reservePort({ host, port }: Pick<Config, 'host' | 'port'>): Promise<SharedPort> {
  const isAny = port === 0
  const server = createServer().listen({ host, port, reusePort: isAny })
  await once(server, 'listening').catch((error) => {
    throw explainPort(error)
  })
  const found = (server.address() as AddressInfo).port
  await claim(host, found)
  // What came to it, where it is known, would get no answer.
  if (!isAny) await new Promise((resolve) => server.close(resolve))
  return { port: found, release: () => void (isAny && server.close()) }
}
