import { copy } from './clipboard.js'
import { announce, make, makeButton } from './dom.js'
import { say, sayBytes } from './language.js'
import { snippetsOf } from './snippets.js'
import { tick } from './time-left.js'

/** How long a button says that it has copied, in milliseconds. */
const COPIED_TIME = 1600

/** What can be done with a card. Its buttons are there only in the states in which it can. @typedef {{ cancel?: () => void, retry?: () => void, remove: () => void, erase: () => void }} Actions */

/**
 * A card of the list: a file on its way, or an image. Its height is the same in all states, so that nothing below it moves.
 *
 * @param {string} name
 * @param {Actions} actions
 */
export function makeCard(name, actions) {
  const picture = make('img', { alt: '', width: 64, height: 64, hidden: true })
  const title = make('h3', { title: name }, name)
  const facts = make('p', { class: 'facts' })
  let tools = make('div', { class: 'tools' })
  const row = make('div', { class: 'row' })
  const about = make('div', { class: 'about' }, title, facts)
  const element = make('li', { class: 'card' }, make('span', { class: 'thumb' }, picture), about, tools, row)
  const progress = make('progress', { max: 1, value: 0, 'aria-label': say('progress', { name }) })

  /** Puts the card into a state. The focus stays in it, on what comes next. @param {State} state */
  function put({ state, facts: said, tools: buttons, row: content }) {
    const hadFocus = element.contains(document.activeElement)
    element.dataset.state = state
    facts.classList.remove('fault')
    facts.replaceChildren(...said)
    // Another one, as the old one would be seen to move when its buttons are wider or narrower.
    const next = make('div', { class: 'tools' }, ...buttons)
    tools.replaceWith(next)
    tools = next
    row.replaceChildren(...content)
    if (hadFocus)
      (row.querySelector('button') ?? tools.querySelector('button'))?.focus({ preventScroll: true })
  }

  /** Shows an image, with what can be done with it. @param {import('./api.js').Image} image @param {Node[]} buttons */
  function show(image, buttons) {
    const { url, width, height, size, expires_at, compatibility } = image
    const link = make('a', { href: url, target: '_blank', rel: 'noopener' }, name)
    title.replaceChildren(link)
    const time = make('time', { datetime: expires_at })
    tick(time)
    const pixels = width && height ? [make('span', {}, `${width} × ${height}`)] : []
    const said = [make('span', {}, sayBytes(size)), ...pixels, time, ...fitBadge(compatibility)]
    const content = [make('code', { class: 'url' }, url), copyButtons({ ...image, name })]
    put({ state: 'image', facts: said, tools: buttons, row: content })
  }

  const { cancel = () => {}, retry = () => {}, remove, erase } = actions
  const cancelButton = () => makeButton(say('cancel'), { name: say('cancelOf', { name }), onClick: cancel })
  const retryButton = () => makeButton(say('retry'), { name: say('retryOf', { name }), onClick: retry })
  const removeButton = () =>
    makeButton(say('remove'), { name: say('removeOf', { name }), className: 'plain', onClick: remove })
  const eraseButton = () =>
    makeButton(say('delete'), { name: say('deleteOf', { name }), className: 'plain', onClick: erase })

  return {
    element,

    /** @param {string} source */
    picture(source) {
      picture.src = source
      picture.hidden = false
    },

    /** @param {string} why @param {string} [message] What was refused, if it is tried again by itself. */
    waiting(why, message) {
      const content = message === undefined ? [] : [make('p', { class: 'note' }, message)]
      put({ state: 'waiting', facts: [why], tools: [cancelButton()], row: content })
    },

    /** @param {number} sent @param {number} size Bytes, both. */
    sending(sent, size) {
      if (element.dataset.state !== 'sending')
        put({ state: 'sending', facts: [''], tools: [cancelButton()], row: [progress] })
      const part = size === 0 ? 1 : sent / size
      progress.value = part
      const percent = Math.floor(100 * part)
      facts.textContent = part === 1 ? say('checking') : say('percent', { percent, size: sayBytes(size) })
    },

    /** @param {string} message */
    failed(message) {
      const content = [make('p', { class: 'fault' }, message)]
      put({ state: 'failed', facts: [say('failed')], tools: [retryButton(), removeButton()], row: content })
    },

    cancelled() {
      const content = [make('p', { class: 'note' }, say('cancelled'))]
      put({ state: 'failed', facts: [say('failed')], tools: [retryButton(), removeButton()], row: content })
    },

    /** @param {import('./api.js').Image} image */
    image: (image) => show(image, [eraseButton()]),

    /** An image that cannot be deleted, but taken from the list. @param {import('./api.js').Image} image */
    removable: (image) => show(image, [removeButton()]),

    expired() {
      title.replaceChildren(name)
      put({ state: 'expired', facts: [say('expired')], tools: [removeButton()], row: [] })
    },

    /** Says what went wrong with an image that is still there. @param {string} message */
    complain(message) {
      facts.textContent = message
      facts.classList.add('fault')
    },
  }
}

/**
 * How many of the models' APIs take an image, in few characters, and which do not, for who points at it or hears it read.
 *
 * @param {Record<string, boolean> | null} [compatibility]
 */
function fitBadge(compatibility) {
  const apis = Object.entries(compatibility ?? {})
  if (apis.length === 0) return []
  const refusing = apis.filter(([, isTaken]) => isTaken !== true).map(([api]) => api)
  const all = apis.length
  const count = all - refusing.length
  const whole =
    refusing.length === 0 ? say('fitsAll', { all }) : say('fitsNot', { names: refusing.join(', ') })
  const about = { class: 'fits', role: 'img', title: whole, 'aria-label': whole, 'data-all': count === all }
  return [make('small', about, say('fits', { count, all }))]
}

/** @typedef {ReturnType<typeof makeCard>} Card */
/** @typedef {{ state: string, facts: (Node | string)[], tools: Node[], row: Node[] }} State */

/** @param {import('./api.js').Image & { name: string }} image */
function copyButtons(image) {
  const group = make('div', {
    class: 'copies',
    role: 'group',
    'aria-label': say('copies', { name: image.name }),
  })
  for (const { label, text } of snippetsOf(image)) {
    const name = say('copyOf', { what: label, name: image.name })
    group.append(
      makeButton(label === 'URL' ? say('copyUrl') : label, {
        name,
        onClick: (button) => copyFrom(button, { label, text }),
      }),
    )
  }
  return group
}

/** @param {HTMLButtonElement} button @param {{ label: string, text: string }} snippet */
async function copyFrom(button, { label, text }) {
  if (!(await copy(text))) return void prompt(say('notCopied'), text)
  announce(say('copied', { what: label }))
  button.classList.add('is-copied')
  setTimeout(() => button.classList.remove('is-copied'), COPIED_TIME)
}
