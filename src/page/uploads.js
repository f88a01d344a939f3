import { Refusal, upload } from './api.js'
import { announce, find } from './dom.js'
import { addPicture, remember } from './history.js'
import { readKey } from './key.js'
import { say } from './language.js'
import { thumbnailOf } from './thumbnail.js'

/** Uploads that are under way at once. */
const AT_ONCE = 3
/** How often an upload is tried again by itself, and for how long the server may want it to wait, in seconds. */
const TRIES = 5
const LONGEST_WAIT = 60

/**
 * @typedef {object} Upload A file that is to be uploaded.
 * @property {File} file
 * @property {string} expiresIn
 * @property {import('./card.js').Card} card
 * @property {AbortController} controller
 * @property {Promise<string | undefined>} picture
 * @property {number} tries
 * @property {string} [refusal] Why it waits to be tried again.
 */

/**
 * Uploads files, a few at once. They wait while there is no key, and for as long as a server that has had too much says.
 *
 * @param {object} options
 * @param {ReturnType<typeof import('./images.js').imageList>} options.list
 * @param {(message?: string) => void} options.askForKey
 * @param {() => void} options.onIdle
 */
export function createUploads({ list, askForKey, onIdle }) {
  /** @type {Upload[]} */
  let waiting = []
  let running = 0
  /** Until when none begins, in Unix milliseconds. */
  let heldUntil = 0
  /** What has happened since all was quiet, for those who do not see it. @type {{ refused: string[], uploaded: string[] }} */
  let news = { refused: [], uploaded: [] }

  /** @param {File[]} files */
  function add(files) {
    const expiresIn = find('#life', HTMLSelectElement).value
    const uploads = files.map((file) => newUpload(file, expiresIn))
    list.insert(uploads.map(({ card }) => card))
    waiting.push(...uploads)
    if (readKey() === undefined) askForKey()
    begin()
  }

  /** @param {File} file @param {string} expiresIn @returns {Upload} */
  function newUpload(file, expiresIn) {
    const card = list.newCard(file.name, { cancel: () => cancel(one), retry: () => retry(one) })
    const picture = thumbnailOf(file)
    picture.then((source) => source && card.picture(source))
    /** @type {Upload} */
    const one = { file, expiresIn, card, picture, controller: new AbortController(), tries: 0 }
    card.waiting(say(readKey() === undefined ? 'waitingForKey' : 'waiting'))
    return one
  }

  function begin() {
    if (readKey() === undefined || Date.now() < heldUntil) return
    while (running < AT_ONCE && waiting.length > 0) {
      const [next, ...rest] = waiting
      waiting = rest
      if (next) void run(next)
    }
    if (running === 0 && waiting.length === 0) rest()
  }

  function rest() {
    const { refused, uploaded } = news
    const count = uploaded.length
    const done =
      count === 1 ? [say('uploaded', { name: uploaded[0] ?? '' })] : [say('uploadedMany', { count })]
    if (count + refused.length > 0) announce([...refused.slice(0, 3), ...(count > 0 ? done : [])].join(' '))
    if (count > 0) onIdle()
    news = { refused: [], uploaded: [] }
  }

  /** @param {Upload} one */
  async function run(one) {
    const { file, card, expiresIn } = one
    const { signal } = one.controller
    const key = readKey()
    running += 1
    card.sending(0, file.size)
    try {
      const image = await upload(file, {
        expiresIn,
        signal,
        onProgress: (sent) => !signal.aborted && card.sending(sent, file.size),
      })
      show(one, image)
    } catch (error) {
      if (!signal.aborted) refuse(one, error instanceof Refusal ? error : new Refusal(String(error)), key)
    } finally {
      running -= 1
      begin()
    }
  }

  /** @param {Upload} one @param {import('./api.js').Image} facts */
  function show({ card, file, picture }, facts) {
    const image = { ...facts, name: file.name }
    news.uploaded.push(file.name)
    list.settle(card, image)
    remember(image)
    picture.then((source) => source && addPicture(image.id, source))
  }

  /** @param {Upload} one @param {Refusal} refusal @param {string | undefined} key The one that it was sent with. */
  function refuse(one, refusal, key) {
    const { status, message, retryAfter = Number.POSITIVE_INFINITY } = refusal
    delete one.refusal
    if (status === 401) {
      waiting.unshift(one)
      one.card.waiting(say('waitingForKey'))
      // Unless another has been given meanwhile.
      if (readKey() === key) askForKey(message)
    } else if ((status === 429 || status === 503) && retryAfter <= LONGEST_WAIT && one.tries < TRIES) {
      one.tries += 1
      one.refusal = message
      waiting.unshift(one)
      hold(retryAfter)
    } else {
      news.refused.push(say('refused', { name: one.file.name, message }))
      one.card.failed(message)
    }
  }

  /** Lets no upload begin for some seconds, and says so. @param {number} seconds */
  function hold(seconds) {
    const wasHeld = Date.now() < heldUntil
    heldUntil = Math.max(heldUntil, Date.now() + 1000 * Math.max(1, seconds))
    if (!wasHeld) countDown()
  }

  function countDown() {
    const seconds = Math.ceil((heldUntil - Date.now()) / 1000)
    for (const { card, refusal } of waiting)
      if (refusal !== undefined && seconds > 0)
        card.waiting(say('waiting'), say('again', { message: refusal, seconds }))
    if (seconds > 0) setTimeout(countDown, 1000)
    else begin()
  }

  /** @param {Upload} one */
  function cancel(one) {
    waiting = waiting.filter((other) => other !== one)
    one.controller.abort()
    one.card.cancelled()
    announce(say('cancelled'))
  }

  /** @param {Upload} one */
  function retry(one) {
    one.controller = new AbortController()
    one.tries = 0
    one.card.waiting(say(readKey() === undefined ? 'waitingForKey' : 'waiting'))
    waiting.push(one)
    if (readKey() === undefined) askForKey()
    begin()
  }

  addEventListener('beforeunload', (event) => {
    if (running + waiting.length > 0) event.preventDefault()
  })

  return { add, begin }
}
