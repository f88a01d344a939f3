import { say, sayDate } from './language.js'

/** By how many milliseconds the server's clock is ahead of this machine's, as its answers say. */
let ahead = 0

/** @param {string | null} date The `Date` of an answer. */
export function setClock(date) {
  const difference = Date.parse(date ?? '') - Date.now()
  // It counts whole seconds.
  if (!Number.isNaN(difference)) ahead = Math.abs(difference) > 2000 ? difference : 0
}

/** The year that stands for never in the API's answers. @param {string} expires */
export const isForever = (expires) => expires.startsWith('9999-')

/** Milliseconds. @param {string} expires */
const millisecondsLeft = (expires) => Date.parse(expires) - Date.now() - ahead

/** @param {string} expires */
export const isOver = (expires) => millisecondsLeft(expires) <= 0

/** How long something still lives, in its two largest units. @param {string} expires */
export function sayTimeLeft(expires) {
  if (isForever(expires)) return say('never')
  const total = Math.floor(millisecondsLeft(expires) / 1000)
  if (total < 0) return say('expired')
  const days = Math.floor(total / 86_400)
  const hours = Math.floor(total / 3600)
  const minutes = Math.floor(total / 60) % 60
  if (days > 0) return say('left', { time: say('days', { days, hours: hours % 24 }) })
  if (hours > 0) return say('left', { time: say('hours', { hours, minutes }) })
  return say('left', { time: say('minutes', { minutes, seconds: total % 60 }) })
}

/**
 * Keeps what a `time` element says up to date.
 *
 * @param {HTMLTimeElement} element Its `datetime` is when the time is up.
 */
export function tick(element) {
  const text = sayTimeLeft(element.dateTime)
  if (element.textContent !== text) element.textContent = text
  if (element.title === '' && !isForever(element.dateTime)) element.title = sayDate(element.dateTime)
}
