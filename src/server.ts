import { buildApp, publicUrlOf } from './app.ts'
import { ConfigError } from './config.ts'
import type { Parts } from './parts.ts'

export interface Server {
  /** The address that clients know it by, without a trailing slash. */
  readonly url: string
  /** Takes nothing new, and resolves when what is under way has ended, or been cut after STOP_TIMEOUT. */
  close(): Promise<void>
}

/** Serves, from here on. Rejects with what to do if the port cannot be had. */
export async function listen(parts: Parts): Promise<Server> {
  const { config } = parts
  const app = await buildApp(parts)
  try {
    await app.listen({ host: config.host, port: config.port, listenTextResolver: () => 'listening' })
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

function explainPort(error: NodeJS.ErrnoException & { port?: number }): Error {
  if (error.code === 'EADDRINUSE')
    return new ConfigError(`PORT: ${error.port} is taken by another program; set another`)
  if (error.code === 'EACCES')
    return new ConfigError(`PORT: this user may not listen on ${error.port}; set one above 1023`)
  return error
}
