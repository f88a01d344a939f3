import { createRequire } from 'node:module'
import { buffer } from 'node:stream/consumers'
import type { Format } from '../formats.ts'
import { EXITS, type Job } from './fit-job.ts'

/**
 * A process that makes one copy of one image, and ends. It decodes what strangers have sent, so it is given nothing else: no environment, no
 * file and no address. Its parent limits its time, its memory and what it may write (`fit-process.ts`).
 */

/** What is used of the library, which has no types here as it need not be installed. */
interface Sharp {
  (input: Buffer, options: object): Pipeline
  cache(isOn: boolean): void
  concurrency(threads: number): void
  block(what: { operation: string[] }): void
  unblock(what: { operation: string[] }): void
}
interface Pipeline {
  metadata(): Promise<Metadata>
  autoOrient(): Pipeline
  resize(options: object): Pipeline
  keepMetadata(): Pipeline
  keepIccProfile(): Pipeline
  flatten(options: object): Pipeline
  toFormat(format: Format, options: object): Pipeline
  toBuffer(): Promise<Buffer>
}
interface Metadata {
  readonly width: number
  readonly height: number
  /** Of one frame. */
  readonly pageHeight?: number
  readonly hasAlpha: boolean
  readonly space: string
}

/** The one loader of the library's many that each format needs. */
const LOADERS: Readonly<Record<Format, string>> = {
  jpeg: 'VipsForeignLoadJpeg',
  png: 'VipsForeignLoadPng',
  gif: 'VipsForeignLoadNsgif',
  webp: 'VipsForeignLoadWebp',
}

/** One way of writing the copy. */
interface Attempt {
  readonly format: Format
  readonly quality: number
  readonly longest: number
}

/** From the best to the worst, each time smaller: fewer than twenty. */
function* attempts(job: Job, { width, height, pageHeight = height, hasAlpha }: Metadata): Generator<Attempt> {
  const largest = Math.min(job.longest, Math.max(width, pageHeight))
  const wanted: Format[] = hasAlpha ? ['png', 'webp', 'jpeg'] : ['jpeg', 'png', 'webp']
  const allowed = wanted.filter((format) => job.formats.includes(format))
  const same = job.formats.includes(job.format) ? job.format : undefined
  const first = same ?? allowed[0] ?? 'jpeg'
  yield { format: first, quality: 92, longest: largest }
  // A format whose quality can be given up for its size, unless it would show: then the size itself.
  const lossy = [first, hasAlpha ? 'webp' : 'jpeg', 'webp'].find(
    (format): format is Format => (format === 'jpeg' || format === 'webp') && job.formats.includes(format as Format),
  )
  const format = job.animated ? first : (lossy ?? first)
  for (const quality of [85, 75, 65]) yield { format, quality, longest: largest }
  for (let scale = 0.8; scale > 0.1; scale *= 0.8)
    yield { format, quality: 80, longest: Math.max(1, Math.floor(largest * scale)) }
}

async function copy(image: Buffer, job: Job): Promise<Buffer | undefined> {
  const sharp: Sharp = createRequire(job.sharp)(job.sharp)
  sharp.cache(false)
  sharp.concurrency(1)
  sharp.block({ operation: ['VipsForeignLoad'] })
  sharp.unblock({ operation: [LOADERS[job.format]] })
  const options = { limitInputPixels: job.maxPixels, animated: job.animated, failOn: 'error' }
  const metadata = await sharp(image, options).metadata()
  for (const attempt of attempts(job, metadata)) {
    const bytes = await write(sharp(image, options), attempt, { job, metadata })
    if (bytes.length <= job.maxBytes) return bytes
  }
  return undefined
}

function write(
  pipeline: Pipeline,
  { format, quality, longest }: Attempt,
  { job, metadata }: { job: Job; metadata: Metadata },
): Promise<Buffer> {
  const box = { width: longest, height: longest, fit: 'inside', withoutEnlargement: true }
  const upright = pipeline.autoOrient().resize(box)
  const opaque = format === 'jpeg' && metadata.hasAlpha ? upright.flatten({ background: '#fff' }) : upright
  // The profile of a picture for print does not fit what is written.
  const isForScreens = metadata.space !== 'cmyk'
  const kept = job.strip ? opaque : opaque.keepMetadata()
  const coloured = isForScreens ? kept.keepIccProfile() : kept
  return coloured.toFormat(format, format === 'jpeg' || format === 'webp' ? { quality } : {}).toBuffer()
}

const [, , text = '{}', memory = '0'] = process.argv
// For systems whose own limit on memory does nothing. The library works in threads of its own, so this one gets to look.
setInterval(() => {
  if (process.memoryUsage.rss() > Number(memory)) process.exit(EXITS.memory)
}, 20).unref()

try {
  const bytes = await copy(await buffer(process.stdin), JSON.parse(text))
  if (bytes) process.stdout.write(bytes)
  else process.exitCode = EXITS.tooLarge
} catch (error) {
  process.stderr.write((error as Error).message)
  process.exitCode = EXITS.damaged
}
