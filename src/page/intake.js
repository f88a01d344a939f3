import { find } from './dom.js'

/**
 * Takes files that are picked, photographed, dropped anywhere on the page or pasted.
 *
 * @param {(files: File[]) => void} onFiles
 */
export function intake(onFiles) {
  const zone = find('#drop', HTMLElement)
  connect('#pick', '#files', onFiles)
  connect('#take', '#photo', onFiles)
  // The whole of it opens the picker for a mouse; the keyboard has the button.
  zone.addEventListener('click', ({ target }) => {
    if (target instanceof Element && !target.closest('button, input')) find('#files', HTMLElement).click()
  })

  /** How many elements the pointer is in: leaving a child of the page is no leaving of the page. */
  let depth = 0
  const mark = () => zone.classList.toggle('is-over', depth > 0)
  addEventListener('dragenter', (event) => {
    if (!hasFiles(event)) return
    depth += 1
    mark()
  })
  addEventListener('dragleave', (event) => {
    if (!hasFiles(event)) return
    depth = Math.max(0, depth - 1)
    mark()
  })
  addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault())
  addEventListener('drop', (event) => {
    if (!hasFiles(event)) return
    // Otherwise the browser leaves the page to show the file.
    event.preventDefault()
    depth = 0
    mark()
    onFiles([...(event.dataTransfer?.files ?? [])])
  })
  addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])]
    if (files.length === 0) return
    event.preventDefault()
    onFiles(files)
  })
}

/** @param {DragEvent} event */
const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes('Files') === true

/**
 * @param {string} button
 * @param {string} selector Of the input that it opens.
 * @param {(files: File[]) => void} onFiles
 */
function connect(button, selector, onFiles) {
  const input = find(selector, HTMLInputElement)
  find(button, HTMLElement).addEventListener('click', () => input.click())
  input.addEventListener('change', () => {
    const files = [...(input.files ?? [])]
    // So that the same file can be picked again.
    input.value = ''
    if (files.length > 0) onFiles(files)
  })
}
