import { rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pngOfSize, sha256 } from '../test/support/images.ts'
import { ask } from './ask.ts'
import type { Contestant, UploadForm } from './contestants/contestant.ts'
import type { Medium } from './folders.ts'
import { measure, type Round } from './measure.ts'
import { writeScript } from './wrk.ts'

export interface UploadRun {
  /** Bytes of the image. */
  readonly size: number
  readonly connections: number
  readonly medium: Medium
  /** Whole seconds. */
  readonly seconds: number
  /** Where scripts and bodies are kept. */
  readonly scripts: string
}

/** Above this, another path for each upload would cost the generator more than the server: nginx then replaces one file. */
const LARGEST_NUMBERED = 1024 ** 2
const BUSY_ATTEMPTS = 20
/** Milliseconds in which no file is added when all uploads are over: longer than a sync takes. */
const [QUIET_DISK, QUIET_MEMORY] = [500, 60]

/** One round of uploads to one server, which it begins and leaves with nothing stored. Rejects if what is stored is not what was sent. */
export async function uploadRound(server: Contestant, run: UploadRun): Promise<Round> {
  const { upload } = server
  if (upload === undefined) throw new Error(`${server.name} takes no uploads`)
  const image = pngOfSize(run.size)
  const body = upload.bodyOf(image)
  const isNumbered = upload.isNumbered && run.size < LARGEST_NUMBERED
  await upload.clear()
  await checkOne(server, upload, image)
  await upload.clear()

  const bodyFile = join(run.scripts, 'body')
  await writeFile(bodyFile, body)
  const { method, headers } = upload
  const path = upload.isNumbered && !isNumbered ? `${upload.path}one` : upload.path
  const requests = { method, headers, paths: [path], bodyFile, isNumbered }
  const script = await writeScript(run.scripts, 'upload', requests)
  const round = await measure(server, { ...run, script })

  const isReplaced = upload.isNumbered && !isNumbered
  const stored = await settled(upload, run.medium === 'disk' ? QUIET_DISK : QUIET_MEMORY)
  if (round.faults === '' && !isReplaced)
    checkCount(server.name, stored.length, round.requests, run.connections)
  const sample = stored[Math.floor(stored.length / 2)]
  if (sample !== undefined) checkBytes(server.name, await upload.read(sample), image)
  await upload.clear()
  await rm(bodyFile)
  await checkOne(server, upload, image)
  await upload.clear()
  return round
}

/** Sends the image once, and compares what has been stored of it. */
async function checkOne({ name, url }: Contestant, upload: UploadForm, image: Buffer): Promise<void> {
  const { method, headers, isNumbered } = upload
  const path = isNumbered ? `${upload.path}check` : upload.path
  const send = () => ask(url + path, { method, headers, body: upload.bodyOf(image) })
  let { status, body: answer } = await send()
  // Who refuses uploads while busy, as after a round on a machine that does other things too, is asked again.
  for (let attempt = 0; status === 503 && attempt < BUSY_ATTEMPTS; attempt += 1) {
    await sleep(500)
    ;({ status, body: answer } = await send())
  }
  if (status >= 300) throw new Error(`${name} answered an upload ${status}: ${answer.subarray(0, 200)}`)
  const file = basename(isNumbered ? path : JSON.parse(String(answer)).data)
  const found = (await upload.stored()).find((path) => basename(path) === file)
  if (found === undefined) throw new Error(`${name} has not stored what it was sent`)
  checkBytes(name, await upload.read(found), image)
}

function checkBytes(name: string, stored: Buffer, sent: Buffer): void {
  if (sha256(stored) !== sha256(sent)) throw new Error(`${name} has stored other bytes than it was sent`)
}

/**
 * Each upload that was answered is a file. The generator ends by leaving one upload on each connection in the middle, which may yet be
 * stored if all of it had been sent.
 */
function checkCount(name: string, stored: number, answered: number, connections: number): void {
  if (stored < answered || stored > answered + connections)
    throw new Error(`${name} has stored ${stored} files and answered ${answered} uploads`)
}

/** What is stored when the server has done with the uploads that were left in the middle. */
async function settled(upload: UploadForm, quietMs: number): Promise<string[]> {
  const limit = performance.now() + 30_000
  let files = await upload.stored()
  for (let since = performance.now(); performance.now() - since < quietMs; await sleep(20)) {
    const now = await upload.stored()
    if (now.length !== files.length) since = performance.now()
    if (since > limit) throw new Error('uploads go on without a client')
    files = now
  }
  return files
}
