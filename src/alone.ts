import { closeParts, type Parts } from './parts.ts'
import { listen } from './server.ts'
import { stopInOrder } from './stop.ts'
import { sweepRegularly } from './sweeping.ts'
import { welcome } from './welcome.ts'

/** Serves, sweeps and stops in order, all in this process. Rejects with what to do if it cannot serve. */
export async function serve(parts: Parts): Promise<void> {
  const { config, log } = parts
  const { server, listener } = await welcome(parts, listen(parts))
  const sweeping = sweepRegularly(parts)
  stopInOrder({
    log,
    limit: config.stopTimeout,
    async close() {
      sweeping.stop()
      await server.close()
      await closeParts(parts)
      await listener?.close()
    },
  })
}
