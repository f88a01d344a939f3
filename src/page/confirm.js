import { find } from './dom.js'

/**
 * Asks whether to do what cannot be undone; resolves with the answer. The focus goes back to where it was.
 *
 * @param {string} question
 * @param {string} yes What the button that does it says.
 * @returns {Promise<boolean>}
 */
export function confirmed(question, yes) {
  const dialog = find('#confirm', HTMLDialogElement)
  find('#question', HTMLElement).textContent = question
  find('#confirm .danger', HTMLElement).textContent = yes
  dialog.returnValue = 'no'
  dialog.showModal()
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true })
  })
}
