import { readKey } from './key.js'
import { say } from './language.js'
import { setClock } from './time-left.js'

/**
 * @typedef {object} Image What the API says of an image.
 * @property {string} id
 * @property {string} url
 * @property {number} size In bytes.
 * @property {string} expires_at
 * @property {number | null} width
 * @property {number | null} height
 * @property {Record<string, boolean> | null | undefined} [compatibility] Which models' APIs take it.
 */

/** A refusal, in the API's own words, or a connection that failed, in ours. */
export class Refusal extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, retryAfter?: number | undefined }} [facts] No status: there was no answer. `retryAfter`: in seconds.
   */
  constructor(message, { status = 0, retryAfter } = {}) {
    super(message)
    this.status = status
    this.retryAfter = retryAfter
  }
}

const UPLOADS = 'v1/files/uploads'

/**
 * How much the key has used and may use.
 *
 * @param {string} [key] Another than the one that is kept.
 * @returns {Promise<{ quota: { limit: number | null, used: number, reserved: number } }>}
 */
export const readUsage = (key) => ask('GET', 'v1/files/usage', key)

/** @param {string} id */
export const deleteImage = (id) => ask('DELETE', `${UPLOADS}/${id}`)

/**
 * @param {string} method
 * @param {string} path
 * @param {string} [key]
 */
async function ask(method, path, key = readKey()) {
  const headers = { authorization: `Bearer ${key}` }
  const answer = await fetch(path, { method, headers, cache: 'no-store' }).catch(() => {
    throw unanswered()
  })
  setClock(answer.headers.get('date'))
  const text = await answer.text().catch(() => '')
  return read({ status: answer.status, text, retryAfter: answer.headers.get('retry-after') })
}

/**
 * Uploads a file. Only `XMLHttpRequest` tells how much has left.
 *
 * @param {File} file
 * @param {{ expiresIn: string, onProgress: (sent: number) => void, signal: AbortSignal }} options `expiresIn`: seconds, or empty for the server's
 *   own time; `onProgress` gets bytes.
 * @returns {Promise<Image>} Rejects with a `Refusal`; with the signal's reason if it was aborted, and then nothing of it stays.
 */
export async function upload(file, { expiresIn, onProgress, signal }) {
  const start = file.slice(0, 1).arrayBuffer()
  await start.catch(() => {
    throw new Refusal(say('unreadable'))
  })
  signal.throwIfAborted()
  const request = new XMLHttpRequest()
  const answered = send(request, file, { expiresIn, onProgress, signal })
  try {
    await answered
    setClock(request.getResponseHeader('date'))
    const { status, responseText: text } = request
    const image = read({ status, text, retryAfter: request.getResponseHeader('retry-after') })
    if (!image.id || !image.url) throw new Refusal(say('strange', { status }))
    if (!signal.aborted) return image
    // If it cannot be deleted it is there, and that should be seen.
    const isGone = await deleteImage(image.id).then(
      () => true,
      () => false,
    )
    if (!isGone) return image
  } catch (error) {
    if (!signal.aborted) throw error
  }
  throw signal.reason
}

/**
 * @param {XMLHttpRequest} request
 * @param {File} file
 * @param {Parameters<typeof upload>[1]} options
 * @returns {Promise<void>} Resolves with the answer's end.
 */
function send(request, file, { expiresIn, onProgress, signal }) {
  const body = new FormData()
  body.append('file', file)
  request.open('POST', expiresIn === '' ? UPLOADS : `${UPLOADS}?expires_in=${expiresIn}`)
  request.setRequestHeader('authorization', `Bearer ${readKey()}`)
  let left = file.size
  request.upload.onprogress = ({ loaded, total }) => {
    left = total - loaded
    onProgress(Math.min(loaded, file.size))
  }
  // What has wholly left may have been stored: the answer is waited for then, and the image deleted.
  signal.addEventListener('abort', () => {
    if (left > LAST_BYTES) request.abort()
    else setTimeout(() => request.abort(), LONGEST_ANSWER)
  })
  return new Promise((resolve, reject) => {
    request.onload = () => resolve()
    request.onerror = () => reject(unanswered())
    request.onabort = () => reject(signal.reason)
    request.send(body)
  })
}

/** So many bytes may be on their way without the browser having said so. */
const LAST_BYTES = 65_536
/** Milliseconds that the answer to an upload that was cancelled is waited for. */
const LONGEST_ANSWER = 30_000

/** @param {{ status: number, text: string, retryAfter: string | null }} answer */
function read({ status, text, retryAfter }) {
  const body = parse(text)
  if (status === 200 && body instanceof Object) return body
  const message = body?.error?.message
  const seconds = Number.parseInt(retryAfter ?? '', 10)
  const facts = { status, retryAfter: Number.isNaN(seconds) ? undefined : seconds }
  throw new Refusal(typeof message === 'string' ? message : say('strange', { status }), facts)
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function unanswered() {
  return new Refusal(say(navigator.onLine ? 'broken' : 'offline'))
}
