// @ts-check
/**
 * A process that makes one copy of one image, and ends. It decodes what strangers have sent, so it is given nothing else: no environment, no
 * file and no address. Its parent limits its time, its memory and what it may write (`fit-process.ts`). In plain JavaScript, as stripping types
 * takes a just-in-time compiler, which it runs without.
 */
import { createRequire } from 'node:module'
import { buffer } from 'node:stream/consumers'

/**
 * @typedef {import('./fit-job.ts').Job} Job
 * @typedef {import('../formats.ts').Format} Format
 * @typedef {{ width: number, height: number, pageHeight?: number, hasAlpha: boolean, space: string }} Metadata
 *   As the library says it; `pageHeight` is that of one frame.
 * @typedef {{ format: Format, quality: number, longest: number }} Attempt One way of writing the copy.
 */

/**
 * The one loader of the library's many that each format needs.
 * @type {Record<Format, string>}
 */
const LOADERS = {
  jpeg: 'VipsForeignLoadJpeg',
  png: 'VipsForeignLoadPng',
  gif: 'VipsForeignLoadNsgif',
  webp: 'VipsForeignLoadWebp',
}

const QUALITIES = [85, 75, 65]

/**
 * From the best to the worst, each time smaller: fewer than twenty.
 * @param {Job} job
 * @param {Metadata} metadata
 * @returns {Generator<Attempt>}
 */
function* attempts(job, { width, height, pageHeight = height, hasAlpha }) {
  const largest = Math.min(job.longest, Math.max(width, pageHeight))
  const first = firstFormat(job, hasAlpha)
  yield { format: first, quality: 92, longest: largest }
  if (!job.mayShrink) return
  const format = job.animated ? first : (lossyFormat(job, first, hasAlpha) ?? first)
  for (const quality of QUALITIES) yield { format, quality, longest: largest }
  for (let scale = 0.8; scale > 0.1; scale *= 0.8)
    yield { format, quality: 80, longest: Math.max(1, Math.floor(largest * scale)) }
}

/**
 * What the image is, if that is taken; else what shows all that it shows.
 * @param {Job} job
 * @param {boolean} hasAlpha
 * @returns {Format}
 */
function firstFormat({ format, formats }, hasAlpha) {
  if (formats.includes(format)) return format
  /** @type {Format[]} */
  const wanted = hasAlpha ? ['png', 'webp', 'jpeg'] : ['jpeg', 'png', 'webp']
  return wanted.find((format) => formats.includes(format)) ?? 'jpeg'
}

/**
 * A format whose quality can be given up for its size, without losing what is transparent.
 * @param {Job} job
 * @param {Format} first
 * @param {boolean} hasAlpha
 * @returns {Format | undefined}
 */
function lossyFormat({ formats }, first, hasAlpha) {
  /** @type {Format[]} */
  const lossy = hasAlpha ? ['webp'] : ['jpeg', 'webp']
  if (lossy.includes(first)) return first
  return lossy.find((format) => formats.includes(format))
}

/**
 * The library, which can read this one format from here on.
 * @param {Job} job
 * @returns {any}
 */
function load({ sharp: path, format }) {
  const sharp = createRequire(path)(path)
  sharp.cache(false)
  sharp.concurrency(1)
  sharp.block({ operation: ['VipsForeignLoad'] })
  sharp.unblock({ operation: [LOADERS[format]] })
  return sharp
}

/**
 * @param {any} sharp
 * @param {Buffer} image
 * @param {Job} job
 * @returns {Promise<Buffer | undefined>} None if no size of it is small enough.
 */
async function copy(sharp, image, job) {
  const options = { limitInputPixels: job.maxPixels, animated: job.animated, failOn: 'error' }
  const metadata = await sharp(image, options).metadata()
  for (const attempt of attempts(job, metadata)) {
    const bytes = await write(sharp(image, options), attempt, { strip: job.strip, metadata })
    if (bytes.length <= job.maxBytes) return bytes
  }
  return undefined
}

/**
 * @param {any} pipeline The library's, for the image.
 * @param {Attempt} attempt
 * @param {{ strip: boolean, metadata: Metadata }} options
 * @returns {Promise<Buffer>}
 */
function write(pipeline, { format, quality, longest }, { strip, metadata }) {
  const box = { width: longest, height: longest, fit: 'inside', withoutEnlargement: true }
  const upright = pipeline.autoOrient().resize(box)
  const opaque = format === 'jpeg' && metadata.hasAlpha ? upright.flatten({ background: '#fff' }) : upright
  const kept = strip ? opaque : opaque.keepExif().keepXmp()
  // What is written has three colours. The profile of another number does not fit, and to keep it would be to lose it before it is applied.
  const coloured = ['cmyk', 'b-w', 'grey16'].includes(metadata.space) ? kept : kept.keepIccProfile()
  return coloured.toFormat(format, format === 'jpeg' || format === 'webp' ? { quality } : {}).toBuffer()
}

const [, , text = '{}', memory = '0'] = process.argv
/** @type {Job} */
const job = JSON.parse(text)

/**
 * @param {unknown} error
 * @param {number} code What it is unless it is for the memory, which the library and its parts say in many ways.
 */
function fail(error, code) {
  process.stderr.write(String(error))
  process.exitCode = /memory|allocation failed/i.test(String(error)) ? job.exits.memory : code
}

// For systems whose own limit on memory does nothing, and for a server that was killed. The library works in threads of its own, so this one
// gets to look.
setInterval(() => {
  if (process.ppid !== job.parent || process.memoryUsage.rss() > Number(memory))
    process.exit(job.exits.memory)
}, 20).unref()

/** @type {any} */
let sharp
try {
  sharp = load(job)
} catch (error) {
  fail(error, job.exits.library)
}
try {
  const bytes = sharp && (await copy(sharp, await buffer(process.stdin), job))
  if (bytes) process.stdout.write(bytes)
  else process.exitCode ??= job.exits.tooLarge
} catch (error) {
  fail(error, job.exits.damaged)
}
