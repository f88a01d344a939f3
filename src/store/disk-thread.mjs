// @ts-check
/**
 * A thread of `disk-threads.ts`. In plain JavaScript, as one that has to strip types takes twice the memory, and three times as long to
 * start.
 */
import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { parentPort } from 'node:worker_threads'

/** @param {{ temp: string, target: string, bytes: Uint8Array }} file */
function place({ temp, target, bytes }) {
  const descriptor = openSync(temp, 'wx', 0o640)
  try {
    // A file system may take less than it is given.
    for (let done = 0; done < bytes.length; ) {
      const written = writeSync(descriptor, bytes, done)
      if (written === 0) throw new Error('the disk takes no bytes, and says nothing')
      done += written
    }
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

/** @param {string} folder */
function syncFolder(folder) {
  const descriptor = openSync(folder, 'r')
  try {
    fsyncSync(descriptor)
    const { dev, ino, birthtimeNs } = fstatSync(descriptor, { bigint: true })
    return `${dev} ${ino} ${birthtimeNs}`
  } finally {
    closeSync(descriptor)
  }
}

/** Milliseconds after which those whose work is done do not wait for the rest of it. */
const WORTH_TELLING = 1

parentPort?.on('message', (/** @type {import('./disk-threads.ts').Job[]} */ jobs) => {
  let answers = []
  let told = performance.now()
  for (const { id, file, folder } of jobs) {
    try {
      answers.push({ id, value: file ? place(file) : syncFolder(folder ?? '') })
    } catch (error) {
      // A copy of an error has lost its code.
      const { message, code, errno, syscall } = /** @type {NodeJS.ErrnoException} */ (error)
      answers.push({ id, failure: { message, code, errno, syscall } })
    }
    const now = performance.now()
    if (now - told < WORTH_TELLING) continue
    parentPort?.postMessage(answers)
    answers = []
    told = now
  }
  if (answers.length > 0) parentPort?.postMessage(answers)
})
