import { make } from './dom.js'

/**
 * Puts text on the clipboard; resolves with whether that went.
 *
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copyByHand(text)
  }
}

/** The old way. A page that comes by http from another machine has no other. @param {string} text */
function copyByHand(text) {
  const before = document.activeElement
  const area = make('textarea', { class: 'unseen', readonly: true, 'aria-hidden': true })
  area.value = text
  document.body.append(area)
  area.select()
  const done = document.execCommand('copy')
  area.remove()
  if (before instanceof HTMLElement) before.focus({ preventScroll: true })
  return done
}
