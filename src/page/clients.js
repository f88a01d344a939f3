import { copy } from './clipboard.js'
import { readKey } from './key.js'

/** Puts the key into the files of `/clients`, in this browser alone, and copies and downloads them with it. */

const PLACE = 'YOUR_KEY'
/** Characters of a bearer token (RFC 6750), none of which needs to be escaped in any of the files. */
const PLAIN = /^[\w.~+/=-]+$/

const input = /** @type {HTMLInputElement} */ (document.getElementById('key'))
const panel = /** @type {HTMLElement} */ (document.getElementById('key-panel'))
const fault = /** @type {HTMLElement} */ (document.getElementById('key-fault'))
const said = /** @type {HTMLElement} */ (document.getElementById('said'))

/** All that has the key’s place in it, with its text as it came. @type {[element: Element, text: string][]} */
const places = [...document.querySelectorAll('section code')]
  .map((element) => /** @type {[Element, string]} */ ([element, element.textContent ?? '']))
  .filter(([, text]) => text.includes(PLACE))

function putKeyIn() {
  const key = input.value.trim()
  const isPlain = PLAIN.test(key)
  fault.textContent = key === '' || isPlain ? '' : (fault.dataset.odd ?? '')
  for (const [element, text] of places)
    element.textContent = isPlain ? text.replaceAll(PLACE, () => key) : text
}

/** Saves a file as it is shown. Its link alone would bring it without the key. @param {Event} event @param {string} text */
function save(event, text) {
  const link = /** @type {HTMLAnchorElement} */ (event.currentTarget)
  if (!places.some(([element]) => link.closest('.file')?.contains(element))) return
  event.preventDefault()
  const url = URL.createObjectURL(new Blob([text]))
  const stand = document.createElement('a')
  stand.href = url
  stand.download = link.download
  stand.click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

for (const file of document.querySelectorAll('.file')) {
  const text = /** @type {HTMLElement} */ (file.querySelector('.text'))
  const button = /** @type {HTMLButtonElement} */ (file.querySelector('button'))
  const label = button.textContent
  button.hidden = false
  button.addEventListener('click', async () => {
    const isCopied = await copy(text.textContent ?? '')
    // For copying it by hand.
    if (!isCopied) getSelection()?.selectAllChildren(text)
    const message = isCopied ? said.dataset.copied : said.dataset.notCopied
    said.textContent = button.textContent = message ?? ''
    setTimeout(() => {
      button.textContent = label
    }, 2000)
  })
  file.querySelector('a')?.addEventListener('click', (event) => save(event, text.textContent ?? ''))
}

/** What was found of a key that is kept. */
let kept = ''

function takeKept() {
  input.value = kept = readKey() ?? ''
  putKeyIn()
}

panel.hidden = false
input.addEventListener('input', putKeyIn)
takeKept()
// The page may come back as it was left, and the key have been forgotten meanwhile.
addEventListener('pageshow', ({ persisted }) => persisted && input.value === kept && takeKept())
