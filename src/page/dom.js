/**
 * Makes an element. Text always goes in as text, so that nothing in a file's name is ever read as markup.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | number | undefined>} [attributes] `true` stands for an attribute without a value.
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false)
      element.setAttribute(name, value === true ? '' : String(value))
  element.append(...children)
  return element
}

/**
 * A button that does something.
 *
 * @param {string} label What is seen.
 * @param {{ name?: string, className?: string, onClick: (button: HTMLButtonElement) => void }} options `name`: what a screen reader says
 *   instead; it must have the label in it.
 */
export function makeButton(label, { name, className, onClick }) {
  const button = make('button', { type: 'button', class: className, 'aria-label': name }, label)
  button.addEventListener('click', () => onClick(button))
  return button
}

/**
 * An element of the page that is known to be there.
 *
 * @template {HTMLElement} T
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(selector, type) {
  const element = document.querySelector(selector)
  if (!(element instanceof type)) throw new Error(`${selector} is not on the page`)
  return element
}

/** Says something to those who do not see it. @param {string} message */
export function announce(message) {
  find('#status', HTMLElement).textContent = message
}
