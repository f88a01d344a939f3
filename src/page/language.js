import { chinese, chineseOfPage, english } from './texts.js'

/** The first language of the browser's that the page has. */
const isChinese = /^zh/i.test(navigator.languages.find((language) => /^(en|zh)\b/i.test(language)) ?? '')
const language = isChinese ? 'zh-CN' : 'en'

/**
 * A text in the reader's language, with values at its `{places}`.
 *
 * @param {import('./texts.js').TextKey} key
 * @param {Record<string, string | number>} [values]
 */
export function say(key, values = {}) {
  const text = (isChinese ? chinese : english)[key]
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ''))
}

/** Puts the page itself, which is written in English, into the reader's language. */
export function translatePage() {
  document.documentElement.lang = language
  if (!isChinese) return
  for (const element of document.querySelectorAll('[data-text]'))
    element.textContent = chineseOfPage[element.getAttribute('data-text') ?? ''] ?? element.textContent
  for (const element of document.querySelectorAll('[data-label]'))
    element.setAttribute('aria-label', chineseOfPage[element.getAttribute('data-label') ?? ''] ?? '')
}

const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 1 })
const UNITS = ['KB', 'MB', 'GB', 'TB']

/** Bytes as people say them, with 1024 to the KB, as the server's own settings count. @param {number} bytes */
export function sayBytes(bytes) {
  if (bytes < 1024) return `${numbers.format(bytes)} B`
  let value = bytes / 1024
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${numbers.format(value)} ${UNITS[unit]}`
}

/** @param {string} date */
export const sayDate = (date) => new Date(date).toLocaleString(language)
