/**
 * @typedef {import('./api.js').Image & { name: string, thumbnail?: string | undefined }} Remembered An image, the name of its file, and a small
 *   picture of it as a `data:` URL.
 */

const NAME = 'layover.images'
const MOST = 100
/** Of pictures, in characters. Browsers give a site some five million. */
const MOST_PICTURES = 500_000

/** Images that this browser has uploaded, the newest first. Nobody else knows of the list. @returns {Remembered[]} */
export function readHistory() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? '[]')
    return Array.isArray(found) ? found.filter(isRemembered).slice(0, MOST) : []
  } catch {
    return []
  }
}

/** @param {Remembered} image */
export function remember({ id, url, size, expires_at, width, height, compatibility, name }) {
  // Read anew each time, as another tab may have written.
  const others = readHistory().filter((other) => other.id !== id)
  write([{ id, url, size, expires_at, width, height, compatibility, name }, ...others].slice(0, MOST))
}

/** Adds the picture of an image, unless that has been forgotten meanwhile. @param {string} id @param {string} thumbnail */
export function addPicture(id, thumbnail) {
  const images = readHistory()
  if (images.some((image) => image.id === id))
    write(images.map((image) => (image.id === id ? { ...image, thumbnail } : image)))
}

/** @param {string} id */
export function forget(id) {
  write(readHistory().filter((image) => image.id !== id))
}

export function forgetAll() {
  write([])
}

/** Keeps as much as there is room for: first go the pictures of the oldest, then the older half. @param {Remembered[]} images */
function write(images) {
  let room = MOST_PICTURES
  let list = images.map((image) => {
    room -= image.thumbnail?.length ?? 0
    return room < 0 ? { ...image, thumbnail: undefined } : image
  })
  for (;;) {
    try {
      if (list.length === 0) localStorage.removeItem(NAME)
      else localStorage.setItem(NAME, JSON.stringify(list))
      return
    } catch {
      // It is full, or forbidden; then the list ends here, with nothing.
      if (list.length === 0) return
      list = list.some(({ thumbnail }) => thumbnail)
        ? list.map((image) => ({ ...image, thumbnail: undefined }))
        : list.slice(0, Math.floor(list.length / 2))
    }
  }
}

/** Whoever else may write there, what comes out is no more than an image. @param {any} image @returns {image is Remembered} */
function isRemembered(image) {
  const { id, url, name, size, expires_at, thumbnail = '' } = image ?? {}
  const isWeb = typeof url === 'string' && /^https?:\/\//.test(url)
  const isPicture = typeof thumbnail === 'string' && (thumbnail === '' || thumbnail.startsWith('data:image/'))
  const hasTime = typeof expires_at === 'string' && !Number.isNaN(Date.parse(expires_at))
  return (
    typeof id === 'string' &&
    /^file_\w+$/.test(id) &&
    isWeb &&
    isPicture &&
    hasTime &&
    typeof name === 'string' &&
    typeof size === 'number'
  )
}
