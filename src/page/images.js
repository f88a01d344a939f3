import { deleteImage, Refusal } from './api.js'
import { makeCard } from './card.js'
import { confirmed } from './confirm.js'
import { announce, find } from './dom.js'
import { forget, forgetAll, readHistory } from './history.js'
import { readKey } from './key.js'
import { say } from './language.js'
import { isOver, tick } from './time-left.js'

/** @typedef {import('./card.js').Card} Card */

/**
 * The list of what is being uploaded and what has been, the newest first.
 *
 * @param {{ askForKey: (message?: string) => void, onDeleted: () => void }} options
 */
export function imageList({ askForKey, onDeleted }) {
  const section = find('#images', HTMLElement)
  const list = find('#list', HTMLElement)
  /** Cards that show an image, and when it expires. @type {Map<Card, import('./api.js').Image & { name: string }>} */
  const shown = new Map()

  /** @param {Card[]} cards */
  function insert(cards) {
    list.prepend(...cards.map(({ element }) => element))
    section.hidden = false
  }

  /** Takes a card away; the focus goes to one beside it. @param {Card} card */
  function remove(card) {
    const { element } = card
    const hadFocus = element.contains(document.activeElement) || document.activeElement === document.body
    const neighbour = element.nextElementSibling ?? element.previousElementSibling
    element.remove()
    const image = shown.get(card)
    shown.delete(card)
    if (image !== undefined) forget(image.id)
    section.hidden = list.childElementCount === 0
    if (!hadFocus) return
    const next = neighbour?.querySelector('a, button') ?? find('#pick', HTMLElement)
    if (next instanceof HTMLElement) next.focus()
  }

  /** Shows an image in a card. @param {Card} card @param {import('./api.js').Image & { name: string }} image */
  function settle(card, image) {
    shown.set(card, image)
    if (isOver(image.expires_at)) card.expired()
    else card.image(image)
  }

  /** Deletes a card's image from the server, if that is really meant. @param {Card} card */
  async function erase(card) {
    const image = shown.get(card)
    if (image === undefined) return
    if (readKey() === undefined) return askForKey()
    if (!(await confirmed(say('deleteAsk', { name: image.name }), say('delete')))) return
    try {
      await deleteImage(image.id)
    } catch (error) {
      const { status, message } = error instanceof Refusal ? error : new Refusal(String(error))
      if (status === 401) askForKey(message)
      // It is gone already, or it belongs to another key, and still has its URL: which of them, nobody is told.
      const said = status === 404 ? say('notDeleted') : message
      if (status === 404) card.removable(image)
      card.complain(said)
      return announce(said)
    }
    remove(card)
    announce(say('deleted', { name: image.name }))
    onDeleted()
  }

  async function clear() {
    if (!(await confirmed(say('clearAsk'), say('clearYes')))) return
    for (const card of [...shown.keys()]) remove(card)
    forgetAll()
    announce(say('cleared'))
    find('#pick', HTMLElement).focus()
  }

  function countDown() {
    for (const time of list.querySelectorAll('time')) tick(time)
    // Also back: this machine's clock may turn out to be wrong.
    for (const [card, image] of shown)
      if ((card.element.dataset.state === 'expired') !== isOver(image.expires_at)) settle(card, image)
  }

  find('#clear', HTMLElement).addEventListener('click', clear)
  setInterval(countDown, 1000)

  /** A card that knows how to go. @param {string} name @param {{ cancel?: () => void, retry?: () => void }} [actions] */
  function newCard(name, actions = {}) {
    const card = makeCard(name, { ...actions, remove: () => remove(card), erase: () => erase(card) })
    return card
  }

  const remembered = readHistory().map((image) => {
    const card = newCard(image.name)
    settle(card, image)
    if (image.thumbnail) card.picture(image.thumbnail)
    return card
  })
  if (remembered.length > 0) insert(remembered)

  return { newCard, insert, settle }
}
