/** Pixels of a side: twice what is shown, for fine screens. */
const SIDE = 128

/** One after the other, so that fifty photos do not have to be in memory at once. @type {Promise<unknown>} */
let last = Promise.resolve()

/**
 * A small square picture of a file, as a `data:` URL of a few KB; undefined if the browser cannot read it. It is made from the file itself: the
 * uploaded image may be on a host that this page may not fetch from.
 *
 * @param {File} file
 * @returns {Promise<string | undefined>}
 */
export function thumbnailOf(file) {
  const made = last.then(() => draw(file)).catch(() => undefined)
  last = made
  return made
}

/** @param {File} file */
async function draw(file) {
  const bitmap = await createImageBitmap(file)
  const side = Math.min(bitmap.width, bitmap.height)
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = SIDE
  const context = canvas.getContext('2d')
  const [x, y] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2]
  if (context) context.imageSmoothingQuality = 'medium'
  context?.drawImage(bitmap, x, y, side, side, 0, 0, SIDE, SIDE)
  bitmap.close()
  const webp = canvas.toDataURL('image/webp', 0.7)
  // A browser that cannot write WebP makes a PNG of it, several times as large.
  return webp.startsWith('data:image/webp') ? webp : canvas.toDataURL('image/jpeg', 0.7)
}
