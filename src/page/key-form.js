import { Refusal, readUsage } from './api.js'
import { find } from './dom.js'
import { forgetKey, isKeptHere, keepKey, readKey } from './key.js'
import { say } from './language.js'

/**
 * Asks for the key, once, and says if it is wrong.
 *
 * @param {{ onKey: () => void, onForgotten: () => void }} options
 */
export function keyForm({ onKey, onForgotten }) {
  const form = find('#key-form', HTMLFormElement)
  const input = find('#key', HTMLInputElement)
  const tick = find('#keep-key', HTMLInputElement)
  const fault = find('#key-fault', HTMLElement)
  const button = find('#key-form button', HTMLButtonElement)
  const kept = find('.kept', HTMLElement)

  function show() {
    const hasKey = readKey() !== undefined
    form.hidden = hasKey
    kept.hidden = !hasKey
    find('#kept', HTMLElement).textContent = say(isKeptHere() ? 'keptHere' : 'keptForTab')
  }

  /** @param {string} message */
  function complain(message) {
    fault.textContent = message
    input.setAttribute('aria-invalid', String(message !== ''))
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const key = input.value.trim()
    button.disabled = true
    complain('')
    try {
      if (!/^[\x21-\x7e]+$/.test(key)) throw new Refusal(say('keyOdd'))
      await readUsage(key)
      keepKey(key, { forLonger: tick.checked })
      input.value = ''
      show()
      find('#pick', HTMLElement).focus()
      onKey()
    } catch (error) {
      complain(error instanceof Error ? error.message : String(error))
      input.focus()
    } finally {
      button.disabled = false
    }
  })

  find('#forget', HTMLElement).addEventListener('click', () => {
    forgetKey()
    show()
    input.focus()
    onForgotten()
  })

  show()
  return {
    /** Asks for a key, or for another. @param {string} [message] What is wrong with the one that was tried. */
    ask(message = '') {
      if (message !== '') forgetKey()
      show()
      complain(message)
      input.focus()
    },
  }
}
