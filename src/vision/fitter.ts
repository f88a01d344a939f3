import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { semaphore } from '../core/semaphore.ts'
import { type Problem, problem, problemWith } from '../errors.ts'
import { type KeyShareOptions, keyShare } from '../keys/share.ts'
import type { Spool } from '../spool.ts'
import type { Staged } from '../stage.ts'
import { type ImageFacts, reasonsAgainst, type Target, targetOf } from './compatibility.ts'
import { EXITS, type Job } from './fit-job.ts'
import { runFitWorker } from './fit-process.ts'
import type { Limits } from './limits.ts'

/** Of those that wait for a worker: so many for each, and for so long, in milliseconds. */
const WAITING_FOR_EACH = 16
const PATIENCE = 30_000

/** Where the package is that has the library: a folder of its own, as it is not among what the server is made of. */
const HOME = join(import.meta.dirname, '../../fit')

/** What a copy shall be like. */
export interface CopyWanted {
  /** Whose limits it shall keep; undefined for the size that the image has. */
  readonly limits: Limits | undefined
  /** Without metadata, but for the colour profile. */
  readonly strip: boolean
}

export interface FitterOptions extends Pick<KeyShareOptions, 'keyring'> {
  readonly config: Pick<Config, 'fit' | 'maxFileSize' | 'maxPixels' | 'maxKeyShare'>
  readonly spool: Spool
  readonly digest: 'md5' | undefined
  /** The folder from where the library is looked for. */
  readonly home?: string
}

/** Makes copies of images, in processes of their own. */
export interface Fitter {
  /** Throws `fit_unavailable`, with what its operator can do, where no copies can be made. */
  refuseUnlessReady(): void

  /**
   * A copy as it is wanted, to be disposed of; undefined where the image itself is what is wanted. Rejects with a `Problem` if there can be
   * none (`fit_impossible`, `fit_failed`), if too many are being made (`fit_busy`), and with the signal's reason; then nothing is left.
   */
  make(
    image: Staged,
    wanted: CopyWanted,
    by: { keyId: string; signal: AbortSignal },
  ): Promise<Staged | undefined>

  /** Ends what is under way. */
  close(): void
}

export function openFitter({ config, keyring, spool, digest, home = HOME }: FitterOptions): Fitter {
  const { fit } = config
  const waiting = WAITING_FOR_EACH * fit.workers
  const slots = semaphore({
    slots: fit.workers,
    share: () => keyShare(fit.workers, { config, keyring }),
    queue: {
      length: waiting,
      ofKey: () => keyShare(fit.workers + waiting, { config, keyring }),
      patience: PATIENCE,
    },
    refusal: (why) => problemWith('fit_busy', { limit: why === 'share' ? 'MAX_KEY_SHARE' : 'FIT_WORKERS' }),
  })
  const closing = new AbortController()
  let library: string | undefined

  function refuseUnlessReady(): string {
    if (fit.workers === 0)
      throw problem('fit_unavailable', { reason: 'its operator has turned it off (FIT_WORKERS=0)' })
    // Looked for again and again until it is there, so that it can be installed while the server runs.
    library ??= locate(home)
    if (library === undefined) throw problem('fit_unavailable', { reason: NOT_INSTALLED })
    return library
  }

  return {
    refuseUnlessReady,

    async make(image, wanted, { keyId, signal }) {
      const sharp = refuseUnlessReady()
      const facts = factsOfStaged(image)
      const { limits = { formats: [image.format], animated: true }, strip } = wanted
      if (!strip && reasonsAgainst(limits, facts).length === 0) return undefined
      const target = targetOf(limits, facts)
      if (target === undefined) throw impossible(limits, facts)
      const either = AbortSignal.any([signal, closing.signal])
      using _slot = await slots.acquire(keyId, either)
      const job = jobOf({ image, target, wanted, sharp, config })
      const copy = await runFitWorker(job, image, { ...fit, spool, digest, signal: either })
      if (reasonsAgainst(limits, factsOfStaged(copy)).length === 0) return copy
      await copy[Symbol.asyncDispose]()
      throw problem('fit_failed', { reason: 'no size of it is taken' })
    },

    close: () => closing.abort(problemWith('fit_busy', { limit: 'stopping' })),
  }
}

const NOT_INSTALLED = 'the library for it is not installed; the operator can do so with: npm run fit:install'

/** The library's main file; undefined if there is none. */
function locate(home: string): string | undefined {
  try {
    return createRequire(join(home, 'package.json')).resolve('sharp')
  } catch {
    return undefined
  }
}

function factsOfStaged({ size, format, header }: Staged): ImageFacts {
  return { bytes: size, format, ...header }
}

/** With those reasons alone that no copy can mend. */
function impossible(limits: Limits, facts: ImageFacts): Problem {
  const lasting = reasonsAgainst(limits, facts).filter(({ code }) => code === 'ratio' || code === 'sides')
  return problem('fit_impossible', { reasons: lasting.map(({ message }) => message) })
}

interface JobOptions {
  readonly image: Staged
  readonly target: Target
  readonly wanted: CopyWanted
  readonly sharp: string
  readonly config: FitterOptions['config']
}

function jobOf({ image, target, wanted, sharp, config: { maxPixels, maxFileSize } }: JobOptions): Job {
  const { width, height, formats, animated, bytes = maxFileSize } = target
  return {
    ...{ sharp, format: image.format, formats, animated, strip: wanted.strip, maxPixels },
    ...{ exits: EXITS, parent: process.pid },
    longest: Math.max(width, height),
    mayShrink: wanted.limits !== undefined,
    maxBytes: Math.min(bytes, maxFileSize),
  }
}
