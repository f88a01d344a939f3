// @ts-check
/**
 * A thread of `disk-threads.ts`. In plain JavaScript, as one that has to strip types takes twice the memory, and three times as long to
 * start.
 */
import { closeSync, fdatasyncSync, linkSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'

/** @param {{ temp: string, target: string, bytes: Uint8Array }} file */
function place({ temp, target, bytes }) {
  const descriptor = openSync(temp, 'wx', 0o640)
  try {
    // A file system may take less than it is given.
    for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done)
    fdatasyncSync(descriptor)
  } catch (error) {
    discard(temp)
    throw error
  } finally {
    closeSync(descriptor)
  }
  try {
    linkSync(temp, target)
  } catch {
    // There is no such folder yet, or something is wrong: whoever asked finds out which.
    return false
  }
  discard(temp)
  return true
}

/** @param {string} temp What cannot be removed now, the next sweep removes. */
function discard(temp) {
  try {
    unlinkSync(temp)
  } catch {}
}

parentPort?.on('message', ({ id, ...file }) => {
  try {
    parentPort?.postMessage({ id, isNamed: place(file) })
  } catch (error) {
    // A copy of an error has lost its code.
    const { message, code, errno, syscall } = /** @type {NodeJS.ErrnoException} */ (error)
    parentPort?.postMessage({ id, failure: { message, code, errno, syscall } })
  }
})
