import { buildApp, publicUrlOf } from './app.ts'
import type { Parts } from './parts.ts'
import { explainPort } from './port-fault.ts'

export interface Server {
  /** The address that clients know it by, without a trailing slash. */
  readonly url: string
  /** Takes nothing new, and resolves when what is under way has ended, or been cut after STOP_TIMEOUT. */
  close(): Promise<void>
}

export interface ListenOptions {
  /**
   * Whether other processes listen on the same port, each with a queue of its own, among which the system spreads connections. Next to a
   * primary that takes them in and hands them on, as of `node:cluster`, each costs half as much, and none is left hanging when
   * its worker dies before it has it.
   */
  readonly isShared?: boolean
}

/** Serves, from here on. Rejects with what to do if the port cannot be had. */
export async function listen(parts: Parts, { isShared = false }: ListenOptions = {}): Promise<Server> {
  const { config } = parts
  const app = await buildApp(parts)
  try {
    // Passed on to Node, which has more options than the framework's type.
    const options = { host: config.host, port: config.port, reusePort: isShared }
    await app.listen({ ...options, listenTextResolver: () => 'listening' })
  } catch (error) {
    throw explainPort(error as NodeJS.ErrnoException)
  }
  return {
    url: publicUrlOf(app, config),
    async close() {
      const cut = setTimeout(() => app.server.closeAllConnections(), config.stopTimeout * 1000)
      await app.close()
      clearTimeout(cut)
    },
  }
}
