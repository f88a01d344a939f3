import type { FastifyInstance, FastifyReply } from 'fastify'
import { whileClientWaits } from '../connection.ts'
import { type Envelope, problem } from '../errors.ts'
import { readMultipart, refuseTooLarge } from '../intake/multipart.ts'
import { readOptions, refuseBadOptions } from '../intake/options.ts'
import { authenticate } from '../keys.ts'
import { type ImageName, imageId } from '../name.ts'
import { publish } from '../publish.ts'
import { stage } from '../stage.ts'
import type { Deps } from './deps.ts'
import { refuseOtherMethods } from './other-methods.ts'

/** `POST /api/upload`: one image in, its URL out, in the gateway's envelope. */
export function apiUpload(
  app: FastifyInstance,
  { config, store, spool, keyring, secret, now, urlOf }: Deps,
): void {
  const onRequest = [authenticate(keyring), refuseTooLarge(config.maxFileSize), refuseBadOptions(config)]

  app.post('/api/upload', { onRequest }, async (request, reply): Promise<Envelope> => {
    const signal = clientGone(reply)
    const { body, fields } = await readMultipart(request, config.maxFileSize)
    await using staged = await stage(body, { spool, digest: store.digest, ...config })
    const { lifetime } = readOptions(request, fields, config)
    const keyId = request.apiKey?.id ?? ''
    const published = publish(staged, { store, secret, keyId, lifetime, now: now(), signal })
    const name = await whileClientWaits(request.raw, published)
    reply.headers(facts(name))
    return { success: true, message: '', data: urlOf(name) }
  })

  refuseOtherMethods(app, '/api/upload', ['POST'])
}

/** What the envelope has no room for. */
function facts(name: ImageName): Record<string, string> {
  const expires = Number.isFinite(name.expires) ? new Date(name.expires * 1000).toISOString() : 'never'
  return { 'x-layover-id': imageId(name), 'x-layover-expires-at': expires }
}

/** Aborted when the client leaves before its answer: nobody would ever know the image's name. */
function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(problem('upload_incomplete'))
  })
  return gone.signal
}
