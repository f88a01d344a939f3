import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import type { Config } from '../config.ts'
import { semaphore } from '../core/semaphore.ts'
import { busy, problem } from '../errors.ts'
import { whenBodyArrives } from '../intake/body.ts'
import { type KeyShareOptions, keyShare } from '../keys/share.ts'
import { keyOf } from '../keys.ts'

export interface CallAdmissionOptions extends Pick<KeyShareOptions, 'keyring'> {
  readonly config: Pick<Config, 'vision' | 'maxKeyShare'>
}

/**
 * `onRequest` hooks that let in `VISION_MAX_CONCURRENT` calls at once, and of one key no more than
 * its share. Each holds its slot until its answer has left or its client has.
 */
export interface CallAdmission {
  /** For calls without a body, which take their slot at once. */
  readonly withoutBody: onRequestAsyncHookHandler
  /**
   * For calls that take their slot when their body begins to arrive; refused at once where there is
   * none now.
   */
  readonly withBody: onRequestAsyncHookHandler
}

export function admitCalls({ config, keyring }: CallAdmissionOptions): CallAdmission {
  const { maxConcurrent } = config.vision
  const slots = semaphore({
    slots: maxConcurrent,
    share: () => keyShare(maxConcurrent, { config, keyring }),
    refusal: (why) => busy(why === 'share' ? 'MAX_KEY_SHARE' : 'VISION_MAX_CONCURRENT'),
  })

  async function take(request: FastifyRequest, { raw }: FastifyReply): Promise<void> {
    // Its end has been told already.
    if (raw.destroyed) throw problem('upload_incomplete')
    const slot = slots.tryAcquire(keyOf(request).id)
    raw.once('close', () => slot[Symbol.dispose]())
  }

  return {
    withoutBody: take,
    withBody: async (request, reply) => {
      slots.check(keyOf(request).id)
      whenBodyArrives(request.raw, () => take(request, reply))
    },
  }
}
