import { createReadStream, openSync } from 'node:fs'
import { openSpool } from '../../src/spool.ts'
import { stage } from '../../src/stage.ts'
import { openFitter } from '../../src/vision/fitter.ts'

/**
 * Makes a copy of an image in a process that may be killed, or that has no descriptors left, and says the code it went wrong with.
 * `node make-copy.ts <image> <library's folder> <spool's folder> [no descriptors]`
 */
const [, , path = '', home = '', dir = '', without] = process.argv
const limits = { maxFileSize: 1e6, maxPixels: 1e8 }
const spool = await openSpool({ dir, minFree: 0, maxAge: 60 })
const fit = { workers: 1, timeout: 20, memory: 128 * 1024 ** 2 }
const config = { fit, maxKeyShare: 50, ...limits }
const keyring = { isShared: () => false }
const fitter = openFitter({ config, keyring, spool, digest: undefined, home })
fitter.refuseUnlessReady()
await using image = await stage(createReadStream(path), { spool, ...limits })
if (without) takeAllDescriptors()
const by = { keyId: 'k', signal: new AbortController().signal }
const made = fitter.make(image, { limits: undefined, strip: true }, by)
process.stdout.write(await made.then(() => 'made').catch(({ code, message }) => code ?? message))

function takeAllDescriptors(): void {
  try {
    for (;;) openSync('/dev/null', 'r')
  } catch {}
}
